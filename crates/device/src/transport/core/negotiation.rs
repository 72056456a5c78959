//! Feature negotiation (section 2.2).

use ringwright_spec::feature::{self, LEGACY_BITS};
use ringwright_spec::{Features, Status};

use super::{Core, Interface};

impl Core {
    /// What the device offers to the driver on the interface it uses.
    pub fn offered_features(&self) -> Features {
        let all = self.host.offered_features();
        match self.interface {
            // Bits of the legacy interface are not to be found on the other one.
            Interface::Modern => self.host.supported(all - self.legacy_only(all)),
            Interface::Legacy => {
                let legacy = self.host.legacy_features(all & LEGACY_BITS);
                self.host.supported(legacy | feature::ANY_LAYOUT)
            }
        }
    }

    /// What the driver has written so far, valid or not.
    pub fn driver_features(&self) -> Features {
        self.driver_features
    }

    /// What is negotiated; nothing before it is.
    pub fn negotiated_features(&self) -> Features {
        self.host.features().unwrap_or_default()
    }

    /// The driver accepts features: bits 32 times `index` and up. After FEATURES_OK it may not
    /// (`drv:init:device-initialization:04`), and is ignored.
    pub fn set_driver_features(&mut self, index: u32, word: u32) {
        if self.status.contains(Status::FEATURES_OK) {
            return tracing::debug!("features written after FEATURES_OK are ignored");
        }
        self.driver_features = self.driver_features.with_word(index, word);
        if self.interface == Interface::Legacy {
            self.renegotiate();
        }
    }

    /// FEATURES_OK: the bit is set if the driver's features are a valid subset of the offer, else it stays clear
    /// (`dev:core:feature-bits:02`).
    pub(super) fn finish_negotiation(&mut self) {
        let features = self.driver_features;
        let refused = features - self.offered_features();
        if !refused.is_empty() {
            return tracing::warn!(?refused, "FEATURES_OK refused: not offered");
        }
        if !features.contains(feature::VERSION_1) {
            return tracing::warn!(
                "FEATURES_OK refused: without VERSION_1 there is the legacy interface only"
            );
        }
        match self.host.set_features(features) {
            Ok(()) => self.status = self.status | Status::FEATURES_OK,
            Err(error) => tracing::warn!(%error, "FEATURES_OK refused"),
        }
    }

    /// Those of `features` that only legacy interfaces know.
    fn legacy_only(&self, features: Features) -> Features {
        let device_type = self.description().device_type;
        let legacy = |bit: &u32| device_type.feature(*bit).is_some_and(|feature| feature.legacy);
        Features(
            features
                .bits()
                .filter(legacy)
                .map(|bit| Features::bit(bit).0)
                .sum(),
        )
    }
}
