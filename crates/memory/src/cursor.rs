//! Cursors over a view: messages are read and written front to back.

use crate::{OutOfBounds, Slices};

/// Reads a view front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: Slices<'a>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(view: Slices<'a>) -> Self {
        Self { rest: view }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What is not yet read.
    pub fn rest(&self) -> Slices<'a> {
        self.rest
    }

    /// Reads as much as there is and `into` holds, and says how much that was.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let length = into.len().min(self.rest.len());
        match into.get_mut(..length).map(|into| self.read_exact(into)) {
            Some(Ok(())) => length,
            _ => 0,
        }
    }

    /// Fills `into`, or reads nothing if less than that remains.
    pub fn read_exact(&mut self, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.rest.read(0, into)?;
        self.rest.advance(into.len());
        Ok(())
    }

    /// Reads `N` bytes, or nothing if less than that remains.
    pub fn read_array<const N: usize>(&mut self) -> Result<[u8; N], OutOfBounds> {
        let bytes = self.rest.read_array(0)?;
        self.rest.advance(N);
        Ok(bytes)
    }

    /// Passes over `length` bytes, or none if less than that remains.
    pub fn skip(&mut self, length: usize) -> Result<(), OutOfBounds> {
        self.take(length).map(|_| ())
    }

    /// Passes over `length` bytes and gives the view of them, or none if less than that remains.
    pub fn take(&mut self, length: usize) -> Result<Slices<'a>, OutOfBounds> {
        let part = self.rest.part(0, length)?;
        self.rest.advance(length);
        Ok(part)
    }
}

/// Writes a view front to back.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    rest: Slices<'a>,
    written: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(view: Slices<'a>) -> Self {
        Self {
            rest: view,
            written: 0,
        }
    }

    /// Bytes that can still be written; none in a read-only view.
    pub fn remaining(&self) -> usize {
        self.rest.room()
    }

    /// Bytes written or passed over: what the device reports as used length.
    pub fn written(&self) -> usize {
        self.written
    }

    /// What is not yet written.
    pub fn rest(&self) -> Slices<'a> {
        self.rest
    }

    /// Writes as much of `from` as there is room for, and says how much that was.
    pub fn write(&mut self, from: &[u8]) -> usize {
        let length = from.len().min(self.rest.room());
        match from.get(..length).map(|from| self.write_all(from)) {
            Some(Ok(())) => length,
            _ => 0,
        }
    }

    /// Writes all of `from`, or nothing if there is no room for it.
    pub fn write_all(&mut self, from: &[u8]) -> Result<(), OutOfBounds> {
        self.rest.write(0, from)?;
        self.rest.advance(from.len());
        self.written += from.len();
        Ok(())
    }

    /// Passes over `length` bytes, or none if less than that remains.
    pub fn skip(&mut self, length: usize) -> Result<(), OutOfBounds> {
        self.take(length).map(|_| ())
    }

    /// Passes over `length` bytes and gives the view of them, or none if less than that remains.
    pub fn take(&mut self, length: usize) -> Result<Slices<'a>, OutOfBounds> {
        if length > self.rest.room() {
            return Err(OutOfBounds {
                offset: 0,
                length,
                available: self.rest.room(),
            });
        }
        let part = self.rest.part(0, length)?;
        self.rest.advance(length);
        self.written += length;
        Ok(part)
    }
}
