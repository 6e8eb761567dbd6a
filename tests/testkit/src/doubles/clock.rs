//! The clock of a service, which may differ from the machine's.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Right until it is set.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Error>);

#[derive(Clone, Copy, Debug, Default)]
enum Error {
    #[default]
    None,
    Fast(Duration),
    Slow(Duration),
}

impl Clock {
    pub(crate) fn now(&self) -> SystemTime {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Error::None => SystemTime::now(),
            Error::Fast(ahead) => SystemTime::now() + ahead,
            Error::Slow(behind) => SystemTime::now() - behind,
        }
    }

    pub(crate) fn set_fast(&self, ahead: Duration) {
        self.set(Error::Fast(ahead));
    }

    pub(crate) fn set_slow(&self, behind: Duration) {
        self.set(Error::Slow(behind));
    }

    fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}
