//! A value that is empty most of the time: one pointer until there is something in it.

use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// What can be lent empty without being made.
pub trait Vacant: Default + 'static {
    /// The empty value.
    fn vacant() -> &'static Self;
}

impl<T: 'static> Vacant for Vec<T> {
    fn vacant() -> &'static Self {
        const { &Vec::new() }
    }
}

/// Reads as the value itself. To change it makes room for it, also if nothing is put in: look first whether there is
/// anything to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seldom<T>(Option<Box<T>>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Seldom(Some(Box::new(value)))
    }
}

impl<T: Vacant> Seldom<T> {
    /// Takes the value out.
    pub fn take(&mut self) -> T {
        self.0.take().map_or_else(T::default, |value| *value)
    }

    /// Forgets the value.
    pub fn reset(&mut self) {
        self.0 = None;
    }
}

impl<T: Vacant> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::vacant(),
        }
    }
}

impl<T: Vacant> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<'a, T> IntoIterator for &'a Seldom<Vec<T>>
where
    T: 'static,
{
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_until_it_is_used() {
        assert_eq!(size_of::<Seldom<Vec<u8>>>(), size_of::<usize>());
        let mut list: Seldom<Vec<u8>> = Seldom::default();
        assert!(list.is_empty() && list == Seldom::default());
        list.push(1);
        assert_eq!(list.as_slice(), [1]);
        assert_eq!(list.take(), [1]);
        assert_eq!(list, Seldom::default());
        list = vec![2].into();
        list.reset();
        assert!(list.is_empty());
    }
}
