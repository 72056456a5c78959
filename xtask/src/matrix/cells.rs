//! Linux guests, which use every device and say what they saw.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// The devices that every guest has to use.
pub const DEVICES: [&str; 4] = ["block", "network", "console", "entropy"];

/// Seconds that a guest may take. Most need less than one minute, on an emulated processor of a busy machine more.
const DEADLINE: &str = "540";

/// A machine, and how the devices are joined to it.
pub struct Cell {
    /// What the table calls it.
    pub name: &'static str,
    /// What `ringwright boot` calls it.
    arguments: &'static [&'static str],
}

/// All of them. Each runs with split and with packed virtqueues.
pub const CELLS: &[Cell] = &[
    Cell {
        name: "x86_64 q35, MSI-X",
        arguments: &["--arch", "x86_64", "--interrupts", "msix"],
    },
    Cell {
        name: "x86_64 q35, INTx",
        arguments: &["--arch", "x86_64", "--interrupts", "intx"],
    },
    Cell {
        name: "x86_64 q35, MSI-X, virtio-iommu",
        arguments: &["--arch", "x86_64", "--interrupts", "msix", "--iommu"],
    },
    Cell {
        name: "x86_64 q35, MSI-X, private memory",
        arguments: &["--arch", "x86_64", "--interrupts", "msix", "--private-memory"],
    },
    Cell {
        name: "aarch64 virt, MSI-X",
        arguments: &["--arch", "aarch64", "--interrupts", "msix"],
    },
    Cell {
        name: "aarch64 virt, INTx",
        arguments: &["--arch", "aarch64", "--interrupts", "intx"],
    },
    Cell {
        name: "riscv64 virt with APLIC and IMSIC, MSI-X",
        arguments: &["--arch", "riscv64", "--interrupts", "msix"],
    },
    Cell {
        name: "riscv64 virt with PLIC, INTx",
        arguments: &["--arch", "riscv64", "--interrupts", "intx"],
    },
    Cell {
        name: "s390x, MSI-X",
        arguments: &["--arch", "s390x", "--interrupts", "msix"],
    },
];

/// What came of a guest.
pub struct Seen {
    /// For each of [`DEVICES`], how all that the guest did with it went.
    pub devices: [String; 4],
    /// Wall time.
    pub seconds: f64,
    /// Whether all is as it should be, or what is not.
    pub verdict: Result<()>,
}

impl Cell {
    /// Boots the guest, with virtqueues of format `ring`.
    pub fn run(&self, ring: &str, ringwright: &Path, peers: &Path) -> Result<Seen> {
        let mut boot = Command::new(ringwright);
        boot.args([
            "boot",
            "--check",
            "--json",
            "--engine",
            "qemu",
            "--transport",
            "vfio-user",
        ])
        .args(self.arguments)
        .args(["--ring", ring, "--timeout", DEADLINE, "--peers"])
        .arg(peers);
        let output = boot.stdin(Stdio::null()).output();
        let output = output.context("cannot start ringwright")?;
        let reports: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| anyhow!("no report: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
        let reports = reports.as_array().context("the reports are no list")?;
        let [report] = reports.as_slice() else {
            bail!("{} reports, not one", reports.len());
        };
        let seen = Seen::new(report)?;
        match (&seen.verdict, output.status.success()) {
            (Ok(()), false) => bail!(
                "ringwright ended with {}, whatever its report says",
                output.status
            ),
            _ => Ok(seen),
        }
    }
}

impl Seen {
    /// Reads the report of one guest.
    fn new(report: &Value) -> Result<Self> {
        let findings = report["findings"].as_array().context("no findings")?;
        // A driver must be there; what it cannot do in this kernel need not.
        let is_good = |finding: &Value| match finding["result"].as_str() {
            Some("ok") => true,
            Some("absent") => finding["check"] != "driver",
            _ => false,
        };
        let of = |device: &str| {
            let of_device = findings.iter().filter(|finding| finding["device"] == device);
            let results: Vec<_> = of_device.map(is_good).collect();
            match results.iter().all(|good| *good) {
                _ if results.is_empty() => "none",
                true => "ok",
                false => "FAIL",
            }
        };
        let devices = DEVICES.map(|device| of(device).to_owned());
        let wrong: Vec<_> = findings.iter().filter(|finding| !is_good(finding)).collect();
        let verdict = match report["passed"].as_bool() {
            Some(true) if wrong.is_empty() && devices.iter().all(|device| device == "ok") => Ok(()),
            _ => Err(anyhow!(
                "{}",
                wrong
                    .iter()
                    .map(|finding| line(finding))
                    .collect::<Vec<_>>()
                    .join("; ")
            )),
        };
        Ok(Self {
            devices,
            seconds: report["seconds"].as_f64().unwrap_or(0.0),
            verdict,
        })
    }
}

fn line(finding: &Value) -> String {
    let field = |name: &str| finding[name].as_str().unwrap_or("?").to_owned();
    format!("{}: {}: {}", field("device"), field("check"), field("detail"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(results: &[(&str, &str)]) -> Value {
        let finding = |(device, result): &(&str, &str)| json!({ "device": device, "check": "driver", "result": result, "detail": "y" });
        let findings: Vec<_> = results.iter().map(finding).collect();
        json!({ "passed": true, "seconds": 1.5, "findings": findings })
    }

    #[test]
    fn a_guest_that_leaves_a_device_out_has_not_passed() {
        let all = [
            ("block", "ok"),
            ("network", "ok"),
            ("console", "ok"),
            ("entropy", "ok"),
        ];
        assert!(Seen::new(&report(&all)).expect("report").verdict.is_ok());
        assert!(Seen::new(&report(&all[1..])).expect("report").verdict.is_err());
        let absent = [all[0], all[1], all[2], ("entropy", "absent")];
        let seen = Seen::new(&report(&absent)).expect("report");
        assert!(seen.verdict.is_err());
        assert_eq!(seen.devices, ["ok", "ok", "ok", "FAIL"]);
        // What a driver cannot do is no fault of the device's.
        let mut cannot = report(&all);
        let mut finding = cannot["findings"][2].clone();
        (finding["check"], finding["result"]) = ("size".into(), "absent".into());
        cannot["findings"].as_array_mut().expect("a list").push(finding);
        assert!(Seen::new(&cannot).expect("report").verdict.is_ok());
    }
}
