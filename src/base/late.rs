//! A value that is made when somebody first looks at it.

use std::cell::LazyCell;
use std::ops::{Deref, DerefMut};

/// Reads as the value itself, which is its type's default unless it was given: nothing is made before it is needed.
#[derive(Debug)]
pub struct Late<T>(LazyCell<T>);

impl<T: Default> Default for Late<T> {
    fn default() -> Self {
        Late(LazyCell::new(T::default))
    }
}

impl<T: Default> From<T> for Late<T> {
    fn from(value: T) -> Self {
        let mut late = Late::default();
        *late = value;
        late
    }
}

impl<T: Default + Clone> Clone for Late<T> {
    fn clone(&self) -> Self {
        Late::from(T::clone(self))
    }
}

impl<T: Default> Deref for Late<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default> DerefMut for Late<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static MADE: Cell<u32> = const { Cell::new(0) };
    }

    #[derive(Clone)]
    struct Counted(u32);

    impl Default for Counted {
        fn default() -> Self {
            MADE.set(MADE.get() + 1);
            Counted(7)
        }
    }

    #[test]
    fn it_is_made_when_it_is_looked_at() {
        let mut late = Late::<Counted>::default();
        assert_eq!(MADE.get(), 0);
        assert_eq!((late.0.0, late.0.0, MADE.get()), (7, 7, 1));
        late.0 = LazyCell::new(Counted::default);
        late.deref_mut().0 = 8;
        assert_eq!((late.clone().deref().0, late.deref().0), (8, 8));
        assert_eq!(Late::from(Counted(9)).deref().0, 9);
    }
}
