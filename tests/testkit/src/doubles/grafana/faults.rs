//! Faults that a double of a service shows when told to.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The operation that stands for every operation.
pub const ANY: &str = "*";

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and this status is answered.
    Status(u16),
    /// It is done, and this status is answered all the same.
    StatusAfter(u16),
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// It is done, and no answer ever comes.
    HangAfter,
    /// Nothing is done, and the answer has no end.
    Endless,
}

/// Faults to come, by operation.
#[derive(Debug, Default)]
pub struct Faults {
    queued: Mutex<HashMap<String, VecDeque<Fault>>>,
    lasting: Mutex<HashMap<String, Fault>>,
}

impl Faults {
    /// The next `times` requests of `operation` fail.
    pub fn inject(&self, operation: &str, times: usize, fault: Fault) {
        let mut queued = lock(&self.queued);
        queued
            .entry(operation.to_owned())
            .or_default()
            .extend(vec![fault; times]);
    }

    /// Every request of `operation` fails from now on.
    pub fn inject_always(&self, operation: &str, fault: Fault) {
        lock(&self.lasting).insert(operation.to_owned(), fault);
    }

    /// No more faults.
    pub fn clear(&self) {
        lock(&self.queued).clear();
        lock(&self.lasting).clear();
    }

    /// What happens to a request of `operation` that has come in.
    pub fn next(&self, operation: &str) -> Option<Fault> {
        let queued = [operation, ANY].into_iter().find_map(|name| {
            lock(&self.queued)
                .get_mut(name)
                .and_then(VecDeque::pop_front)
        });
        let lasting = || {
            let lasting = lock(&self.lasting);
            lasting.get(operation).or_else(|| lasting.get(ANY)).copied()
        };
        queued.or_else(lasting)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
