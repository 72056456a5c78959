//! What a hart asks of an IMSIC.

/// The supervisor-level interrupt file of one hart, as its CSRs see it (RISC-V Advanced Interrupt Architecture,
/// chapter "Incoming MSI Controller"). The file makes [`Interrupt::External`](crate::Interrupt::External) pending at the hart's
/// [`Signals`](crate::Signals) whenever it has an enabled interrupt above its threshold, and no longer when not.
pub trait InterruptFile: Send + Sync {
    /// The register that `select` (`siselect`, 0x70 to 0xff) chooses: changes it by `update` and gives its value from
    /// before. `None` if there is no such register; the guest gets an illegal instruction exception.
    fn register(&self, select: u64, update: Update) -> Option<u64>;

    /// What `stopei` reads: identity and priority of the top interrupt, or 0.
    fn top(&self) -> u64;

    /// A write to `stopei`: makes the top interrupt no longer pending, and gives what a read of the same instruction sees,
    /// so that no other interrupt can come in between.
    fn claim(&self) -> u64;
}

/// What a CSR instruction does to the value of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing: it is only read.
    Keep,
    /// Writes a value.
    Write(u64),
    /// Sets the bits that are 1 in the operand.
    Set(u64),
    /// Clears the bits that are 1 in the operand.
    Clear(u64),
}

impl Update {
    /// The new value of a register that is `old`.
    pub fn apply(self, old: u64) -> u64 {
        match self {
            Self::Keep => old,
            Self::Write(value) => value,
            Self::Set(bits) => old | bits,
            Self::Clear(bits) => old & !bits,
        }
    }
}
