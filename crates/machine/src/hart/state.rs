//! All that a hart remembers.

use serde::{Deserialize, Serialize};

/// The two modes that a guest runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// User mode (U).
    User,
    /// Supervisor mode (S).
    #[default]
    Supervisor,
}

/// The architectural state of a hart. At reset, all is zero, in supervisor mode, and no timer is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Integer registers.
    pub x: [u64; 32],
    /// Floating-point registers; single precision is NaN-boxed.
    pub f: [u64; 32],
    /// Address of the next instruction.
    pub pc: u64,
    /// Mode.
    pub privilege: Privilege,
    /// CSR `fcsr`.
    pub fcsr: u64,
    /// CSR `sstatus`.
    pub sstatus: u64,
    /// CSR `sie`.
    pub sie: u64,
    /// Pending interrupts as in CSR `sip`, without that of the timer.
    pub pending: u64,
    /// CSR `stvec`.
    pub stvec: u64,
    /// CSR `scounteren`.
    pub scounteren: u64,
    /// CSR `senvcfg`.
    pub senvcfg: u64,
    /// CSR `sscratch`.
    pub sscratch: u64,
    /// CSR `sepc`.
    pub sepc: u64,
    /// CSR `scause`.
    pub scause: u64,
    /// CSR `stval`.
    pub stval: u64,
    /// CSR `satp`.
    pub satp: u64,
    /// CSR `stimecmp`.
    pub stimecmp: u64,
    /// CSR `siselect`.
    pub siselect: u64,
    /// Instructions retired.
    pub instret: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            x: [0; 32],
            f: [0; 32],
            pc: 0,
            privilege: Privilege::Supervisor,
            fcsr: 0,
            sstatus: 0,
            sie: 0,
            pending: 0,
            stvec: 0,
            scounteren: 0,
            senvcfg: 0,
            sscratch: 0,
            sepc: 0,
            scause: 0,
            stval: 0,
            satp: 0,
            stimecmp: u64::MAX,
            siselect: 0,
            instret: 0,
        }
    }
}
