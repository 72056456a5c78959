//! Adding buffers, one or many, the same for both formats.
//!
//! Nearly all buffers have one of a few shapes, and those of one virtqueue mostly have the same. So there is a loop for each of
//! these shapes, in which the number of elements is known and all that changes stays in registers, until a buffer comes that
//! has another shape, or does not fit before the end of the ring, or is to be refused. A format has a longer way for it.

use ringwright_memory::DmaSegment;

use super::AddError;
use crate::shape::Shape;

/// What a format has to offer.
pub trait Add<T> {
    /// Writes buffers of `N` elements into the ring, one after the other. In the end the queue knows of them.
    type Run<'q, const N: usize>: Run<T, N>
    where
        Self: 'q;

    /// A run of buffers of which the first so many elements are device-readable.
    fn run<const N: usize>(&mut self, readable: usize) -> Self::Run<'_, N>;

    /// Adds any buffer.
    fn add_long(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>>;

    /// The shape that the next buffers probably have: that of the last one which another loop had to leave.
    fn shape(&mut self) -> &mut Shape;

    /// Adds a buffer; gives its id.
    #[inline(always)]
    fn add(&mut self, readable: &[DmaSegment], writable: &[DmaSegment], data: T) -> Result<u16, AddError<T>> {
        let added = match (readable, writable) {
            ([request], [reply]) => add_one(self, [request, reply], 1, data),
            ([only], []) => add_one(self, [only], 1, data),
            ([], [only]) => add_one(self, [only], 0, data),
            ([request], [first, second]) => add_one(self, [request, first, second], 1, data),
            ([first, second], [reply]) => add_one(self, [first, second, reply], 2, data),
            _ => Err(data),
        };
        added.or_else(|data| self.add_long(readable, writable, data))
    }

    /// Adds all of `chains`, or those before the first that is refused.
    #[inline(never)]
    fn add_all<R, W>(&mut self, chains: impl IntoIterator<Item = (R, W, T)>) -> Result<(), AddError<T>>
    where
        R: AsRef<[DmaSegment]>,
        W: AsRef<[DmaSegment]>,
    {
        let mut chains = chains.into_iter();
        loop {
            let done = match *self.shape() {
                Shape::Pair => add_alike::<2, 1, 1, _, _, _>(self, &mut chains)?,
                Shape::Readable => add_alike::<1, 1, 0, _, _, _>(self, &mut chains)?,
                Shape::Writable => add_alike::<1, 0, 1, _, _, _>(self, &mut chains)?,
                Shape::Input => add_alike::<3, 1, 2, _, _, _>(self, &mut chains)?,
                Shape::Output => add_alike::<3, 2, 1, _, _, _>(self, &mut chains)?,
                Shape::Other => match chains.next() {
                    Some((readable, writable, data)) => {
                        add_other(self, readable.as_ref(), writable.as_ref(), data)?
                    }
                    None => true,
                },
            };
            if done {
                return Ok(());
            }
        }
    }
}

/// See [`Add::run`].
pub trait Run<T, const N: usize> {
    /// Whether the next buffer is the first since the last publish, which is added by [`begin`](Self::begin).
    fn begins(&self) -> bool;

    /// Adds the first buffer since the last publish, of which the device can write so many bytes; gives its id, or `data`
    /// back if it needs the longer way.
    fn begin(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T>;

    /// Adds a buffer that is not the first, else as [`begin`](Self::begin).
    fn add(&mut self, elements: [&DmaSegment; N], writable: u32, data: T) -> Result<u16, T>;
}

/// Adds a buffer of which the first so many elements are device-readable, or gives `data` back if it needs the longer way.
#[inline(always)]
fn add_one<const N: usize, T>(
    queue: &mut (impl Add<T> + ?Sized),
    elements: [&DmaSegment; N],
    readable: usize,
    data: T,
) -> Result<u16, T> {
    let Some(bytes) = writable_bytes(&elements, readable) else {
        return Err(data);
    };
    let mut run = queue.run(readable);
    if run.begins() {
        run.begin(elements, bytes, data)
    } else {
        run.add(elements, bytes, data)
    }
}

/// Adds `chains` for as long as they have `READABLE` and `WRITABLE` elements, `N` together, and the one that ends this. Tells
/// whether these were all.
#[inline(always)]
fn add_alike<const N: usize, const READABLE: usize, const WRITABLE: usize, T, R, W>(
    queue: &mut (impl Add<T> + ?Sized),
    chains: &mut impl Iterator<Item = (R, W, T)>,
) -> Result<bool, AddError<T>>
where
    R: AsRef<[DmaSegment]>,
    W: AsRef<[DmaSegment]>,
{
    let mut run = queue.run::<N>(READABLE);
    // Adds the next one.
    macro_rules! next {
        ($add:ident) => {
            let Some((readable, writable, data)) = chains.next() else {
                return Ok(true);
            };
            let (readable, writable) = (readable.as_ref(), writable.as_ref());
            let back = match elements::<N, READABLE, WRITABLE>(readable, writable) {
                Some((elements, bytes)) => run.$add(elements, bytes, data).err(),
                None => Some(data),
            };
            if let Some(data) = back {
                drop(run);
                return add_other(queue, readable, writable, data);
            }
        };
    }
    if run.begins() {
        next!(begin);
    }
    loop {
        next!(add);
    }
}

/// Adds a buffer that a loop had to leave; this was not all.
fn add_other<T>(
    queue: &mut (impl Add<T> + ?Sized),
    readable: &[DmaSegment],
    writable: &[DmaSegment],
    data: T,
) -> Result<bool, AddError<T>> {
    *queue.shape() = Shape::of(readable.len(), writable.len());
    queue.add_long(readable, writable, data)?;
    Ok(false)
}

/// A buffer as so many elements, and the number of bytes that the device can write; `None` if it is another, or one whose
/// bytes a check has to count that is not done here.
#[inline(always)]
fn elements<'c, const N: usize, const READABLE: usize, const WRITABLE: usize>(
    readable: &'c [DmaSegment],
    writable: &'c [DmaSegment],
) -> Option<([&'c DmaSegment; N], u32)> {
    const { assert!(READABLE + WRITABLE == N) };
    let readable: &[_; READABLE] = readable.try_into().ok()?;
    let writable: &[_; WRITABLE] = writable.try_into().ok()?;
    let elements = core::array::from_fn(|number| match number.checked_sub(READABLE) {
        None => &readable[number],
        Some(number) => &writable[number],
    });
    Some((elements, writable_bytes(&elements, READABLE)?))
}

/// Number of bytes of all but the first so many elements. `None` if all of them together have more than 32 bits can say: a
/// buffer may have just one byte more than that, so the longer way looks closer.
#[inline(always)]
fn writable_bytes<const N: usize>(elements: &[&DmaSegment; N], readable: usize) -> Option<u32> {
    let sum = |bytes: u32, element: &&DmaSegment| bytes.checked_add(element.len());
    let (readable, writable) = elements.split_at(readable);
    let bytes = writable.iter().try_fold(0, sum)?;
    readable.iter().try_fold(bytes, sum)?;
    Some(bytes)
}
