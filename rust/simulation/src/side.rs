//! Writes that follow a commit a little later (`scheduler/side_writes.py`).

use std::rc::Rc;

use crate::cluster::{is_lost, Unavailable};
use crate::redis::{Command, Resp};
use crate::replica::Replica;
use crate::store;
use crate::world::{sleep, Slot, MILLI, SECOND};
use crate::wrong::Wrong;

/// What is noted and not sent yet.
#[derive(Default)]
pub struct Side {
    tenants: Vec<(String, String, i64, bool, bool)>,
    released: Vec<(String, String, i64)>,
    letters: Vec<(String, String, i64)>,
    confirmed: Vec<(String, String)>,
    done: Vec<(String, i64)>,
    unsent: Vec<Command>,
}

impl Replica {
    fn side_due(&self) {
        self.side_pending.borrow().fill(&self.world, true);
    }

    pub fn note_tenants(&self, changes: Vec<(String, String, bool, bool)>) {
        self.note_tenants_at(changes, self.now());
    }

    pub fn note_tenants_at(&self, changes: Vec<(String, String, bool, bool)>, now: i64) {
        let noted = changes
            .into_iter()
            .map(|(tenant, job, open, active)| (tenant, job, now, open, active));
        self.side.borrow_mut().tenants.extend(noted);
        self.side_due();
    }

    /// Jobs that wait after all and give back the slot listed as of a time.
    pub fn note_released(&self, slots: Vec<(String, String, i64)>) {
        self.side.borrow_mut().released.extend(slots);
        self.side_due();
    }

    pub fn note_dead_letters(&self, pairs: Vec<(String, String)>) {
        let now = self.now();
        self.side
            .borrow_mut()
            .letters
            .extend(pairs.into_iter().map(|(tenant, job)| (tenant, job, now)));
        self.side_due();
    }

    pub fn note_confirmed(&self, jobs: Vec<(String, String)>) {
        self.side.borrow_mut().confirmed.extend(jobs);
        self.side_due();
    }

    pub fn note_done(&self, jobs: Vec<(String, i64)>) {
        self.side.borrow_mut().done.extend(jobs);
        self.side_due();
    }

    /// Commands of everything noted; it is forgotten.
    pub fn take_side(&self) -> Vec<Command> {
        let noted = std::mem::take(&mut *self.side.borrow_mut());
        let mut commands = noted.unsent;
        commands.extend(store::tenant_commands(&noted.tenants));
        let unfenced = self.world.is(Wrong::ReleasesUnfenced);
        commands.extend(store::release_commands(&noted.released, unfenced));
        commands.extend(store::dead_letter_commands(&noted.letters));
        commands.extend(store::confirm(&noted.confirmed));
        let unfenced = self.world.is(Wrong::ClearsUnfenced);
        let done = noted
            .done
            .into_iter()
            .map(|(job, rev)| (job, (!unfenced).then_some(rev)));
        commands.extend(store::clear_after(&done.collect::<Vec<_>>()));
        commands
    }

    /// Keep commands that could not be sent.
    pub fn give_back(&self, mut commands: Vec<Command>) {
        let mut side = self.side.borrow_mut();
        commands.append(&mut side.unsent);
        side.unsent = commands;
        drop(side);
        self.side_due();
    }

    /// Send everything noted now.
    pub async fn flush_side(&self) -> Result<(), Unavailable> {
        let commands = self.take_side();
        if commands.is_empty() {
            return Ok(());
        }
        match self.pipeline(commands.clone()).await {
            Ok(replies) => {
                let lost = unanswered(&commands, &replies);
                if lost.is_empty() {
                    return Ok(());
                }
                self.give_back(lost);
                Err(Unavailable)
            }
            Err(error) => {
                self.give_back(commands);
                Err(error)
            }
        }
    }
}

/// Commands whose node did not answer while others did.
pub fn unanswered(commands: &[Command], replies: &[Resp]) -> Vec<Command> {
    let pairs = commands.iter().zip(replies);
    pairs
        .filter(|(_, reply)| is_lost(reply))
        .map(|(command, _)| command.clone())
        .collect()
}

/// Flush what no commit took along.
pub async fn run(replica: Rc<Replica>) {
    let world = Rc::clone(&replica.world);
    loop {
        let pending = replica.side_pending.borrow().clone();
        pending.wait(&world).await;
        sleep(&world, 50 * MILLI).await;
        replica.side_pending.replace(Slot::default());
        replica.step("side.flush").await;
        if replica.flush_side().await.is_err() {
            sleep(&world, SECOND).await;
        }
    }
}
