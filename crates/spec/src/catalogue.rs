//! Every structure, constant and flag of this crate by module, without their types: for programs that explain a number
//! or a structure to people, and for the tests that compare this crate with other definitions.

use crate::data::{Group, Layout};

/// What one module of this crate defines.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Path of the module within this crate: `block`, `block::zoned`.
    pub name: &'static str,
    /// Its constants and flags.
    pub groups: &'static [Group],
    /// Its structures.
    pub layouts: &'static [Layout],
}

/// The module of this name.
pub fn module(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

impl Module {
    /// The group of constants or flags of this name.
    pub fn group(&self, name: &str) -> Option<&'static Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The structure of this name.
    pub fn layout(&self, name: &str) -> Option<&'static Layout> {
        self.layouts.iter().find(|layout| layout.name == name)
    }
}

macro_rules! catalogue {
    ($( $first:ident $( :: $rest:ident )* {
        $( groups: $( $group:ident )+ ; )?
        $( layouts: $( $layout:ident )+ ; )?
    } )+) => {
        /// Every module that defines something; the device-independent ones first, then those of the device types.
        pub const MODULES: &[Module] = &[ $( {
            #[allow(unused_imports, reason = "groups or layouts may be absent")]
            use crate::$first $( ::$rest )* as module;
            Module {
                name: concat!(stringify!($first) $( , "::", stringify!($rest) )*),
                groups: &[ $( $( module::$group::GROUP ),+ )? ],
                layouts: &[ $( $( module::$layout::LAYOUT ),+ )? ],
            }
        } ),+ ];
    };
}

catalogue! {
    status {
        groups: Status;
    }
    split {
        groups: DescFlags AvailFlags UsedFlags;
        layouts: Desc Avail Used UsedElem;
    }
    packed {
        groups: EventFlags DescFlags;
        layouts: Desc EventSuppress;
    }
    admin {
        groups: GroupType Opcode Status StatusQualifier;
        layouts: CmdHeader CmdStatus;
    }
    admin::capability {
        groups: CapId;
        layouts: CapGetData CapSetData;
    }
    admin::device_parts {
        groups: PartType ResourceObjType MetadataType GetType PartFlags DevMode;
        layouts: PartHdr PciCommonCfgSelector VqIndexSelector VqCfg VqNotifyData DevPartsCap
            ResourceObjDevParts MetadataData PartsSize HdrListCount GetData SetData DevModeSetData;
    }
    admin::legacy {
        groups: NotifyInfoFlags;
        layouts: LegacyWrData LegacyRdData NotifyInfo NotifyInfoResult;
    }
    admin::resource {
        groups: ResourceType;
        layouts: ResourceObjCmdHdr ResourceObjCreateData ResourceModifyData ResourceObjQueryData;
    }
    pci {
        groups: CfgType Isr;
        layouts: Cap Cap64 NotifyCap CfgCap VndrData;
    }
    pci::common_cfg {
        layouts: CommonCfg;
    }
    mmio {
        groups: Interrupt;
    }
    ccw {
        groups: Command Revision;
        layouts: SenseId RevInfo VqConfigBlock VqInfoBlock VqInfoBlockLegacy FeatureDesc ThinintArea;
    }
    ccw::channel {
        groups: CcwFlags OrbControl OrbModes ScswFlags ScswControl DeviceStatus SubchannelStatus Sense PmcwFlags
            PmcwCharacteristics ConditionCode;
        layouts: Ccw1 Ccw0 Orb Scsw Pmcw Schib Irb;
    }
    balloon {
        groups: StatTag CmdId;
        layouts: Config Stat;
    }
    block {
        groups: ReqType Status PreEolInfo DiscardWriteZeroesFlags;
        layouts: Config Geometry Topology ReqHead DiscardWriteZeroes Lifetime ScsiPcIn;
    }
    block::zoned {
        groups: Model ZoneType ZoneState;
        layouts: Characteristics ReqZaTail ZoneReport ZoneDescriptor;
    }
    can {
        groups: MsgType OperationResult ControllerStatus FrameFlags;
        layouts: Config ControlOut ControlIn TxOut TxIn;
    }
    console {
        groups: Event;
        layouts: Config Control Resize;
    }
    crypto {
        groups: Service Status CapId ResourceType ConfigStatus;
        layouts: Config;
    }
    crypto::algorithm {
        groups: Cipher Hash Mac Aead Akcipher;
    }
    crypto::dataq {
        groups: DataOpcode OpFlags;
        layouts: OpHeader Inhdr HashDataFlf HashDataFlfStateless MacDataFlf MacDataFlfStateless
            CipherDataFlf AlgChainDataFlf SymDataFlf CipherSessPara CipherDataFlfStateless AlgChainSessPara
            HashSessPara AlgChainDataFlfStateless SymDataFlfStateless AeadDataFlf AeadDataFlfStateless
            AkcipherDataFlf AkcipherDataFlfStateless IpsecDataFlf;
    }
    crypto::ipsec {
        groups: Mode Direction Options;
        layouts: ResourceCap SaCapData ModeCap TunnelParam TunnelIpv4 TunnelIpv6 Lifetime Key256b
            ResourceObjSa256bKey;
    }
    crypto::session {
        groups: CtrlOpcode Op SymOp AlgChainOrder HashMode RsaPadding RsaHash Curve KeyType;
        layouts: CtrlHeader CreateSessionInput DestroySessionFlf DestroySessionInput HashCreateSessionFlf
            MacCreateSessionFlf CipherSessionFlf AlgChainSessionFlf SymCreateSessionFlf
            AeadCreateSessionFlf RsaSessionPara EcdsaSessionPara AkcipherCreateSessionFlf;
    }
    filesystem {
        layouts: Config;
    }
    gpio {
        groups: MessageType MessageStatus Direction IrqType IrqStatus;
        layouts: Config Request Response ResponseN IrqRequest IrqResponse;
    }
    gpu {
        groups: CtrlType ShmId Events CtrlFlags;
        layouts: Config CtrlHdr CursorPos UpdateCursor;
    }
    gpu::three_d {
        groups: MapCache ResourceFlags;
        layouts: CtxCreate ResourceMapBlob RespMapInfo ResourceUnmapBlob CtxResource ResourceCreate3d Box3d
            TransferHost3d CmdSubmit;
    }
    gpu::two_d {
        groups: Format CapsetId BlobMem BlobFlags;
        layouts: Rect RespDisplayInfo DisplayOne GetEdid RespEdid ResourceCreate2d ResourceUnref SetScanout
            ResourceFlush TransferToHost2d ResourceAttachBacking MemEntry ResourceDetachBacking
            GetCapsetInfo RespCapsetInfo GetCapset ResourceAssignUuid RespResourceUuid ResourceCreateBlob
            SetScanoutBlob;
    }
    i2c {
        groups: MsgStatus OutFlags;
        layouts: OutHdr InHdr;
    }
    input {
        groups: ConfigSelect;
        layouts: Config AbsInfo DevIds Event;
    }
    iommu {
        groups: RequestType RequestStatus ProbeType ResvMemType FaultReason AttachFlags MapFlags FaultFlags;
        layouts: Config Range64 Range32 ReqHead ReqTail ReqAttach ReqDetach ReqMap ReqUnmap ReqProbe
            ProbeProperty ProbeResvMem Fault;
    }
    media {
        groups: Cmd EventType Memory UnsupportedIoctl MmapFlags;
        layouts: Config CmdHeader RespHeader CmdOpen RespOpen CmdClose CmdIoctl RespIoctl SgEntry CmdMmap
            RespMmap CmdMunmap RespMunmap EventHeader EventError EventDqbuf EventEvent;
    }
    memory {
        groups: RequestType ResponseType State;
        layouts: Config Req ReqPlug Resp RespState;
    }
    network::admin {
        groups: CapId ResourceType PartType;
        layouts: CvqSelector;
    }
    network::config {
        groups: Duplex Status;
        layouts: Config;
    }
    network::control {
        groups: Ack Class Rx Mac Vlan Announce Mq GuestOffloadsCommand NotfCoal HashTunnelCommand Stats
            RssCtx GuestOffloads;
        layouts: Ctrl CtrlMac CtrlMqPairsSet CtrlGuestOffloads CtrlCoal CtrlCoalVq;
    }
    network::filter {
        groups: MaskType Action MaskFlags;
        layouts: CapData CapMaskData Selector Actions Group Classifier Rule;
    }
    network::hash {
        groups: HashReport HashTypes TunnelTypes;
        layouts: HashTunnel HashConfig RssConfigHead RssConfigTail RssCtxCap RssCtxAddModify RssCtxDel;
    }
    network::header {
        groups: GsoType HdrFlags GsoFlags;
        layouts: Hdr IpsecResourceHdr;
    }
    network::statistics {
        groups: ReplyType StatsTypes;
        layouts: StatsCapabilities QueueStats ReplyHdr Cvq RxBasic TxBasic RxCsum TxCsum RxGso TxGso
            RxSpeed TxSpeed;
    }
    pmem {
        groups: RequestType Ret;
        layouts: Config Req Resp;
    }
    rpmb {
        groups: ReqResp OperationResult;
        layouts: Config Frame;
    }
    rtc {
        groups: MsgType ResponseStatus ClockType Smear Counter ClockCapFlags CrossCapFlags AlarmFlags;
        layouts: ReqHead RespHead NotifHead ReqCfg RespCfg ReqClockCap RespClockCap ReqCrossCap
            RespCrossCap ReqRead RespRead ReqReadCross RespReadCross ReqReadAlarm RespReadAlarm ReqSetAlarm
            RespSetAlarm ReqSetAlarmEnabled RespSetAlarmEnabled NotifAlarm;
    }
    scmi {
        layouts: Request Response EventMsg;
    }
    scsi {
        groups: Response TmfResponse TaskAttr CtrlType TmfSubtype EventType ResetReason AsyncEvents;
        layouts: Config ReqCmdHead ReqCmdPi ReqCmdTail CtrlTmf CtrlAn CtrlAnTail Event;
    }
    socket {
        groups: Op Type EventId ShutdownFlags SeqFlags;
        layouts: Config Hdr Event;
    }
    sound {
        groups: Request EventType RequestStatus Direction JackFeatures CtlRole CtlType CtlAccess
            CtlEventMask PcmFormat PcmRate ChannelPosition PcmFeatures;
        layouts: Config Hdr Event QueryInfo Info JackHdr JackInfo JackRemap CtlHdr CtlInfo CtlInteger
            CtlInteger64 CtlEnumerated CtlEnumItem CtlValue CtlIec958 CtlTlv CtlEvent PcmHdr PcmInfo
            PcmSetParams PcmXfer PcmStatus ChmapInfo;
    }
    spi {
        groups: Nbits ResultCode NbitsSupported ModeFuncSupported Mode;
        layouts: Config TransferHead TransferResult;
    }
}
