//! Faults that a double of a service shows when told to.

use std::collections::{HashMap, VecDeque};
use std::iter::repeat_n;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The operation that stands for every operation.
pub const ANY: &str = "*";

/// How a request fails; `E` names an error of the service, by default its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<E = u16> {
    /// Nothing is done, and this error is answered.
    Status(E),
    /// It is done, and this error is answered all the same.
    StatusAfter(E),
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// It is done, and no answer ever comes.
    HangAfter,
    /// Nothing is done, and the answer has no end.
    Endless,
}

/// Faults to come, by operation.
#[derive(Debug)]
pub struct Faults<F = Fault>(Mutex<Queues<F>>);

#[derive(Debug)]
struct Queues<F> {
    queued: HashMap<String, VecDeque<F>>,
    lasting: HashMap<String, F>,
}

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(Mutex::new(Queues {
            queued: HashMap::new(),
            lasting: HashMap::new(),
        }))
    }
}

impl<F: Clone> Faults<F> {
    /// The next `times` requests of `operation` fail, after the faults asked for before.
    pub fn inject(&self, operation: &str, times: usize, fault: F) {
        let mut faults = lock(&self.0);
        let queued = faults.queued.entry(operation.to_owned()).or_default();
        queued.extend(repeat_n(fault, times));
    }

    /// Every request of `operation` fails from now on.
    pub fn inject_always(&self, operation: &str, fault: F) {
        lock(&self.0).lasting.insert(operation.to_owned(), fault);
    }

    /// No more faults.
    pub fn clear(&self) {
        *lock(&self.0) = Queues {
            queued: HashMap::new(),
            lasting: HashMap::new(),
        };
    }

    /// What happens to a request of `operation` that has come in.
    pub fn next(&self, operation: &str) -> Option<F> {
        let mut faults = lock(&self.0);
        let queues = &mut faults.queued;
        let queued = [operation, ANY]
            .into_iter()
            .find_map(|name| queues.get_mut(name).and_then(VecDeque::pop_front));
        let lasting = || [operation, ANY].map(|name| faults.lasting.get(name));
        queued.or_else(|| lasting().into_iter().flatten().next().cloned())
    }
}

/// What is behind the mutex, also after a test's own assertion failed while it held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
