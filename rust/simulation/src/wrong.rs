//! Wrong edits of the orchestration: what a careless change of the Python services could do. The scripts and the planner have
//! their own list (`edits.rs`).

/// One wrong edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    AckFirst,
    AckOnError,
    RepliesIgnored,
    LimitIgnored,
    RollbackOnTimeout,
    ConfirmUnheard,
    DutiesForgotten,
    SweepForgetsResult,
    NoSettling,
    NoDutySweep,
    SettlesAtOnce,
    SettlesBlindly,
    WheelStands,
    TimesOutUnconfirmed,
    NoOrphans,
    NoTenantRepair,
    ApprovesUnfenced,
    ClearsUnfenced,
    PublishesLate,
    SettlesUnclaimed,
    ReleasesUnfenced,
    RollsBackUnfenced,
}

/// All of them.
pub const WRONGS: &[Wrong] = &[
    Wrong::AckFirst,
    Wrong::AckOnError,
    Wrong::RepliesIgnored,
    Wrong::LimitIgnored,
    Wrong::RollbackOnTimeout,
    Wrong::ConfirmUnheard,
    Wrong::DutiesForgotten,
    Wrong::SweepForgetsResult,
    Wrong::NoSettling,
    Wrong::NoDutySweep,
    Wrong::SettlesAtOnce,
    Wrong::SettlesBlindly,
    Wrong::WheelStands,
    Wrong::TimesOutUnconfirmed,
    Wrong::NoOrphans,
    Wrong::NoTenantRepair,
    Wrong::ApprovesUnfenced,
    Wrong::ClearsUnfenced,
    Wrong::PublishesLate,
    Wrong::SettlesUnclaimed,
    Wrong::ReleasesUnfenced,
    Wrong::RollsBackUnfenced,
];
