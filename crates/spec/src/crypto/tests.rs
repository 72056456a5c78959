//! Tests of what is computed: opcodes, the control virtqueue's index, padding without revision 1.

use super::dataq::{DataOpcode, SymDataFlf};
use super::session::{AlgChainSessionFlf, CtrlOpcode, SymCreateSessionFlf};
use super::*;

#[test]
fn opcodes_have_the_service_in_their_second_byte() {
    assert_eq!(CtrlOpcode::CIPHER_CREATE_SESSION.0, 0x002);
    assert_eq!(CtrlOpcode::AEAD_DESTROY_SESSION.0, 0x303);
    assert_eq!(CtrlOpcode::AKCIPHER_CREATE_SESSION.0, 0x404);
    assert_eq!(DataOpcode::AKCIPHER_VERIFY.0, 0x403);
    assert_eq!(DataOpcode::IPSEC_INBOUND.0, 0x501);
}

#[test]
fn the_control_virtqueue_comes_last() {
    assert_eq!(
        (controlq(1), controlq(0xffff), controlq(0x10000)),
        (Some(1), Some(0xffff), None)
    );
}

#[test]
fn fixed_length_fields_are_padded_without_revision_1() {
    let structure = size_of::<session::DestroySessionFlf>();
    assert_eq!(ctrl_flf_len(features::REVISION_1, structure), 8);
    assert_eq!(ctrl_flf_len(Features::NONE, structure), 56);
    assert_eq!(
        data_flf_len(features::REVISION_1, size_of::<dataq::IpsecDataFlf>()),
        8
    );
    assert_eq!(data_flf_len(Features::NONE, size_of::<dataq::IpsecDataFlf>()), 48);
    // The greatest structures fill their room exactly.
    assert_eq!(size_of::<SymCreateSessionFlf>(), CTRLQ_OP_SPEC_HDR_LEGACY);
    assert_eq!(size_of::<SymDataFlf>(), DATAQ_OP_SPEC_HDR_LEGACY);
    assert_eq!(
        size_of::<AlgChainSessionFlf>(),
        session::SYM_SESS_OP_SPEC_HDR_SIZE
    );
    assert_eq!(size_of::<dataq::AlgChainDataFlf>(), dataq::SYM_DATA_REQ_HDR_SIZE);
    assert_eq!(
        size_of::<dataq::AlgChainDataFlfStateless>(),
        dataq::SYM_DATA_REQ_HDR_STATELESS_SIZE
    );
}
