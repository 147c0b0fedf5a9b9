//! One answer out of those of all workers.

use crate::control::jsonrpc::RpcError;
use crate::worker::seat::CallError;
use serde_json::{Map, Value, json};

/// How the workers' answers to one method become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// Lists are joined; a worker that failed shows up as an entry with `worker` and `error`.
    Concat,
    /// The thing is in at most one worker: the first that has it answers.
    First,
    /// An object with one entry per worker.
    PerWorker,
    /// Only one worker is asked, any; it may take long.
    One,
}

/// A method that the workers answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// Its name.
    pub method: String,
    /// What to do with the answers.
    pub merge: Merge,
}

impl Forwarded {
    /// `method`, merged like this.
    pub fn new(method: &str, merge: Merge) -> Forwarded {
        Forwarded { method: method.into(), merge }
    }
}

/// What one worker said: `None` if it did not answer in time or died.
pub type Answer = (usize, Option<Result<Value, CallError>>);

/// Merges the answers, which are ordered by worker.
pub fn merge(how: Merge, answers: Vec<Answer>) -> Result<Value, RpcError> {
    let silent = |worker: &usize| CallError { code: -32000, message: format!("worker {worker} did not answer") };
    let mut answers: Vec<(usize, Result<Value, CallError>)> =
        answers.into_iter().map(|(w, a)| (w, a.unwrap_or_else(|| Err(silent(&w))))).collect();
    // When all refuse for the same reason, that is the answer.
    if let Some((_, Err(first))) = answers.first()
        && answers.iter().all(|(_, a)| matches!(a, Err(e) if e.code == first.code))
    {
        return Err(RpcError::new(first.code, first.message.clone()));
    }
    match how {
        Merge::Concat => {
            let mut all = Vec::new();
            for (worker, answer) in answers {
                match answer {
                    Ok(Value::Array(list)) => all.extend(list),
                    Ok(Value::Null) => {}
                    Ok(other) => all.push(other),
                    Err(e) => all.push(json!({ "worker": worker, "error": e.message })),
                }
            }
            Ok(Value::Array(all))
        }
        Merge::First | Merge::One => {
            let found = answers.iter().position(|(_, a)| a.is_ok());
            let best = found.or_else(|| answers.iter().position(|(_, a)| matches!(a, Err(e) if e.code != -32001)));
            let (_, answer) = if answers.is_empty() {
                return Err(RpcError::failed("no worker is running"));
            } else {
                answers.swap_remove(best.unwrap_or(0))
            };
            answer.map_err(|e| RpcError::new(e.code, e.message))
        }
        Merge::PerWorker => {
            let one = |a: Result<Value, CallError>| a.unwrap_or_else(|e| json!({ "error": e.message }));
            Ok(Value::Object(answers.into_iter().map(|(w, a)| (w.to_string(), one(a))).collect::<Map<_, _>>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_silence_is_shown() {
        let all = vec![(0, Some(Ok(json!([1, 2])))), (1, None), (2, Some(Ok(json!([3]))))];
        let got = merge(Merge::Concat, all).unwrap();
        assert_eq!(got, json!([1, 2, {"worker": 1, "error": "worker 1 did not answer"}, 3]));
        assert_eq!(merge(Merge::Concat, vec![]).unwrap(), json!([]));
        assert_eq!(merge(Merge::Concat, vec![(0, None)]).unwrap_err().code, -32000);
    }

    #[test]
    fn the_one_who_has_it_answers() {
        let none = || Some(Err(CallError::not_found("no such wait")));
        let got = merge(Merge::First, vec![(0, none()), (1, Some(Ok(json!("killed"))))]);
        assert_eq!(got.unwrap(), json!("killed"));
        assert_eq!(merge(Merge::First, vec![(0, none()), (1, none())]).unwrap_err().code, -32001);
        assert_eq!(merge(Merge::First, vec![(0, none()), (1, None)]).unwrap_err().code, -32000);
        assert!(merge(Merge::First, vec![]).is_err());
        let got = merge(Merge::PerWorker, vec![(0, Some(Ok(json!(5)))), (1, None)]).unwrap();
        assert_eq!(got["0"], json!(5));
    }
}
