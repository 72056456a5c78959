//! Landlock: which files and addresses the process reaches.

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::Needs;

/// What is restricted, where the kernel can: files, TCP, abstract Unix sockets, signals. What came later is for when it was
/// tried.
const KNOWN: ABI = ABI::V7;

/// From now on, this thread and those it starts open no file, and connect to no TCP port but those that are needed.
pub fn restrict(needs: &Needs) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for port in &needs.ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            tracing::debug!("sandbox: this kernel's Landlock is an old one, and restricts less");
        }
        RulesetStatus::NotEnforced => tracing::warn!(
            "sandbox: this kernel has no Landlock; only system calls are restricted (Linux 5.13 with lsm=landlock has it)"
        ),
    }
    Ok(())
}
