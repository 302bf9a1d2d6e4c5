//! Sessions that decide who lives (protocol spec §15.3, §15.4).

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use cordum_dispatch::config::Config;
use cordum_dispatch::matching::{Matcher, Miss};
use cordum_dispatch::sessions::Disagreement;
use cordum_dispatch::workers::{Capacity, WorkerTable};
use cordum_wire::messages::{Handshake, Heartbeat};
use serde_json::json;
use support::{beat, request, NOW};

const SECOND: i64 = 1_000_000;
const LATER: i64 = NOW + 31 * SECOND;

fn config(sessions: bool) -> Config {
    let document = json!({
        "topics": {"job.a": ["p"]}, "worker_ttl_s": 30.0, "readiness_ttl_s": 60.0, "session_authority": sessions,
    });
    Config::parse(document.to_string().as_bytes()).unwrap()
}

fn offered(table: &mut WorkerTable, config: &Config, now_us: i64) -> Result<String, Miss> {
    let mut matcher = Matcher::new(table, config, 1, now_us);
    let request = request("j", "job.a");
    let pools = matcher.pools(&request)?;
    matcher.pick(&request, &pools).map(|target| target.worker_id)
}

fn live(ids: &[&str], until_us: i64) -> Vec<(String, i64)> {
    ids.iter().map(|id| ((*id).to_owned(), until_us)).collect()
}

fn online(worker: &str) -> Vec<Capacity> {
    vec![Capacity {
        pool: "p".into(),
        worker_id: worker.into(),
        online: true,
    }]
}

#[test]
fn only_a_live_session_makes_a_worker_eligible() {
    let config = config(true);
    let mut table = WorkerTable::default();
    assert_eq!(
        table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config),
        vec![],
        "nobody came online"
    );
    assert_eq!(offered(&mut table, &config, NOW), Err(Miss::NoWorkers));
    let until = NOW + 5 * SECOND;
    assert_eq!(
        table.set_sessions(live(&["w"], until), true, NOW, &config),
        online("w")
    );
    assert_eq!(
        table.set_sessions(live(&["w"], until), true, NOW, &config),
        vec![],
        "it was there before"
    );
    assert_eq!(offered(&mut table, &config, NOW).as_deref(), Ok("w"));
    assert_eq!(
        offered(&mut table, &config, until),
        Err(Miss::NoWorkers),
        "nothing was read since: the store may be gone"
    );
    table.set_sessions(vec![], true, NOW, &config);
    assert_eq!(offered(&mut table, &config, NOW), Err(Miss::NoWorkers), "revoked");
}

#[test]
fn a_topic_is_available_when_somebody_may_be_offered_its_jobs() {
    let config = config(true);
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    let topic = |table: &mut WorkerTable, now_us| table.overview(now_us, &config).topics["job.a"].available;
    assert!(!topic(&mut table, NOW));
    table.set_sessions(live(&["w"], NOW + SECOND), true, NOW, &config);
    assert!(topic(&mut table, NOW));
    assert!(!topic(&mut table, NOW + SECOND));
    assert_eq!(table.overview(NOW, &config).pools["p"].workers, 1);
}

#[test]
fn a_session_outlives_silence_and_only_where_it_decides() {
    for (decides, expected) in [(true, Ok("w")), (false, Err(&Miss::NoWorkers))] {
        let config = config(decides);
        let mut table = WorkerTable::default();
        table.set_sessions(live(&["w"], NOW + 3_600 * SECOND), true, NOW, &config);
        table.heartbeat(&beat("w", "p", 3, 9), 0, NOW, &config);
        assert_eq!(offered(&mut table, &config, LATER).as_deref(), expected);
        let gone = table.expire(LATER, &config);
        assert_eq!(gone.is_empty(), decides);
        assert_eq!(table.pool_alive("p", LATER, &config), decides);
    }
}

#[test]
fn a_heard_worker_without_a_session_is_shown_until_it_is_silent() {
    let config = config(true);
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    assert_eq!(table.expire(NOW + 30 * SECOND, &config), Vec::<String>::new());
    assert_eq!(table.expire(LATER, &config), vec!["w".to_owned()]);
}

#[test]
fn a_silent_worker_is_not_full_for_ever() {
    let config = config(true);
    let mut table = WorkerTable::default();
    table.set_sessions(live(&["w"], LATER + 3_600 * SECOND), true, NOW, &config);
    table.heartbeat(&beat("w", "p", 1, 1), 0, NOW, &config);
    assert_eq!(offered(&mut table, &config, LATER), Err(Miss::PoolOverloaded));
    table.expire(LATER, &config);
    assert_eq!(offered(&mut table, &config, LATER).as_deref(), Ok("w"));
    assert_eq!(
        offered(&mut table, &config, LATER),
        Err(Miss::PoolOverloaded),
        "it has one now"
    );
}

#[test]
fn what_shows_no_session_tells_of_load_only() {
    let config = config(true);
    let mut table = WorkerTable::default();
    table.set_sessions(live(&["w"], NOW + 5 * SECOND), true, NOW, &config);
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    let stranger = Heartbeat {
        active_jobs: 9,
        ..beat("w", "elsewhere", 9, 9)
    };
    table.evidence.dispatched("w", "j-1", "j-1:1:0", "job.a", NOW);
    table.inform(&stranger);
    let worker = table.get("w").unwrap();
    assert_eq!((worker.active_jobs, worker.pool.as_str()), (9, "p"));
    assert_eq!(
        table.evidence.take_running(64, &config, NOW),
        vec![],
        "no job is taken to run"
    );
    assert_eq!(offered(&mut table, &config, NOW), Err(Miss::PoolOverloaded));
}

#[test]
fn heartbeats_of_a_worker_without_a_session_are_no_evidence() {
    for decides in [true, false] {
        let config = config(decides);
        let mut table = WorkerTable::default();
        table.evidence.dispatched("w", "j-1", "j-1:1:0", "job.a", NOW);
        table.heartbeat(&beat("w", "p", 1, 9), 0, NOW, &config);
        assert_eq!(table.evidence.take_running(64, &config, NOW).is_empty(), decides);
    }
}

#[test]
fn a_live_session_keeps_topics_and_proof_current() {
    let config = Config::parse(
        json!({"topics": {"job.a": ["p"]}, "readiness_required": true, "attestation_enforced": true,
            "session_authority": true})
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let mut table = WorkerTable::default();
    let much_later = NOW + 600 * SECOND;
    table.set_sessions(live(&["w"], much_later + SECOND), true, NOW, &config);
    let shake = Handshake {
        component_id: "w".into(),
        role: 3,
        ready_topics: vec!["job.a".into()],
        ..Handshake::default()
    };
    assert_eq!(table.handshake(&shake, NOW, &config), online("w"));
    assert_eq!(offered(&mut table, &config, much_later).as_deref(), Ok("w"));
}

#[test]
fn sessions_and_heartbeats_that_disagree_are_told_apart() {
    let config = config(true);
    let mut table = WorkerTable::default();
    for id in ["both", "session", "heard"] {
        table.heartbeat(&beat(id, "p", 0, 9), 0, NOW, &config);
    }
    table.set_sessions(live(&["both", "session"], LATER + SECOND), true, NOW, &config);
    for id in ["both", "heard"] {
        table.heartbeat(&beat(id, "p", 0, 9), 0, LATER, &config);
    }
    let found = table.disagreements(&config, LATER);
    assert_eq!(
        found,
        vec![
            ("session".to_owned(), Disagreement::SessionAllows),
            ("heard".to_owned(), Disagreement::SessionBlocks),
        ]
    );
}

#[test]
fn a_remembered_worker_comes_back_by_its_session() {
    let config = config(true);
    let mut before = WorkerTable::default();
    before.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    before.heartbeat(&beat("gone", "p", 0, 9), 0, NOW, &config);
    let mut table = WorkerTable::default();
    table.set_sessions(live(&["w"], LATER + SECOND), false, LATER, &config);
    for entry in before.entries(LATER) {
        table.restore(entry, 31 * SECOND, LATER, &config);
    }
    assert_eq!(table.all().len(), 1);
    assert_eq!(offered(&mut table, &config, LATER).as_deref(), Ok("w"));
}
