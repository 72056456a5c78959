//! The shapes that nearly all buffers have. Those of one virtqueue mostly have the same, so there are loops in which the
//! number of elements is known.

/// The shapes that have loops of their own.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A request, and room for its reply.
    Pair,
    /// One device-readable element.
    Readable,
    /// One device-writable element.
    Writable,
    /// A request, and room for data and for its status.
    Input,
    /// A request with data, and room for its status.
    Output,
    /// Any other.
    Other,
}

impl Shape {
    /// The shape of a buffer of so many device-readable and device-writable elements.
    pub fn of(readable: usize, writable: usize) -> Self {
        match (readable, writable) {
            (1, 1) => Self::Pair,
            (1, 0) => Self::Readable,
            (0, 1) => Self::Writable,
            (1, 2) => Self::Input,
            (2, 1) => Self::Output,
            _ => Self::Other,
        }
    }
}
