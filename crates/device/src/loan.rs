//! Lending: what belongs to a device but is used by its worker comes back when the worker ends.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps one value and lends it to one borrower at a time.
///
/// A backend (a socket, a pair of descriptors) outlives the sessions of a driver, but during a session it belongs to the
/// worker alone, without locks. The device keeps the lender; the worker holds the [`Loan`].
#[derive(Debug)]
pub struct Lender<T>(Arc<Mutex<Option<T>>>);

/// A lent value. It returns to its lender when the loan is dropped, also by a panic.
#[derive(Debug)]
pub struct Loan<T> {
    value: Option<T>,
    lender: Arc<Mutex<Option<T>>>,
}

impl<T> Lender<T> {
    /// A lender that has `value` at home.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    /// The value, or `None` if it is lent already.
    pub fn lend(&self) -> Option<Loan<T>> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Loan {
            value: Some(value),
            lender: self.0.clone(),
        })
    }
}

const HELD: &str = "a loan holds its value until it is dropped";

impl<T> Deref for Loan<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Loan<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HELD)
    }
}

impl<T> Drop for Loan<T> {
    fn drop(&mut self) {
        *self.lender.lock().unwrap_or_else(PoisonError::into_inner) = self.value.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_lent_once_and_returns_even_by_a_panic() {
        let lender = Lender::new(1);
        let mut loan = lender.lend().unwrap();
        assert!(lender.lend().is_none());
        *loan += 1;
        let outcome = std::panic::catch_unwind(move || {
            let _loan = loan;
            panic!("the borrower fails");
        });
        assert!(outcome.is_err());
        assert_eq!(*lender.lend().unwrap(), 2);
    }
}
