//! The judging part of a submit plan: stored approvals, policy requests and answers, payloads, fail mode (policy spec §15).

use cordum_wire::tenant_of;
use prost::Message;

use crate::judge::{self, Approval, Content, Judgement, Mismatch, Word};
use crate::submit::{Item, SubmitPlan};

/// Most policy requests of one RPC.
const MAX_RPC_ITEMS: usize = 512;
/// Most bytes of one RPC.
const MAX_RPC_BYTES: usize = 7 * 1024 * 1024;

impl SubmitPlan {
    /// Whether some job claims a stored approval, so that the policy in force must be known.
    pub fn claims_approval(&self) -> bool {
        let approved = |item: &Item| item.text("approval_decision") == "approve" && !item.is_gate();
        let asks = |item: &Item| item.open && item.judgement.is_none() && approved(item);
        self.items.iter().any(asks)
    }

    /// Settle what stored approvals settle under the policy `current`; the kernel is asked about the rest. Call it once, before
    /// anything else is asked.
    pub fn judge_approved(&mut self, current: &str) {
        let undecided = |item: &&mut Item| matches!(item.judgement, None | Some(Judgement::Altered));
        for item in self.items.iter_mut().filter(|item| item.open).filter(undecided) {
            if let Some(mismatch) = item.judge_from_record(current) {
                self.mismatches.push(mismatch);
            }
        }
    }

    /// Ask for the payloads of jobs whose topic is known to need them.
    pub fn expect_content(&mut self, is_known: impl Fn(&str) -> bool) {
        for item in &mut self.items {
            let pending = item.open && item.judgement.is_none() && item.content == Content::Omitted;
            if pending && is_known(&item.request.topic) {
                item.content = Content::Wanted;
            }
        }
    }

    /// Items whose payload has to be read: item, key. Jobs without a readable pointer have none.
    pub fn content_keys(&mut self) -> Vec<(usize, String)> {
        let mut keys = Vec::new();
        for (index, item) in self.items.iter_mut().enumerate() {
            if item.content == Content::Wanted {
                match judge::content_key(&item.request.context_ptr) {
                    Some(key) => keys.push((index, key.to_owned())),
                    None => item.content = Content::Missing,
                }
            }
        }
        keys
    }

    /// Supply a payload: its first bytes and full length, `None` when the key is gone.
    pub fn supply_content(&mut self, index: usize, payload: Option<(Vec<u8>, i64)>) {
        if let Some(item) = self.items.get_mut(index) {
            item.content = payload.map_or(Content::Missing, |(mut bytes, size)| {
                bytes.truncate(judge::CONTENT_MAX_BYTES);
                Content::Here(bytes, size)
            });
        }
    }

    /// Serialized policy requests of the jobs that need an answer now, already split by the RPC's limits. Jobs whose payload is
    /// still to be read are left for the next round.
    pub fn policy_batches(&mut self) -> Vec<Vec<Vec<u8>>> {
        let mut batches = vec![Vec::new()];
        let mut size = 0;
        self.asked.clear();
        for (index, item) in self.items.iter().enumerate() {
            if !item.open || item.judgement.is_some() || item.content == Content::Wanted {
                continue;
            }
            let encoded =
                judge::policy_request(&item.request, &item.content, item.policy_config()).encode_to_vec();
            let full = batches
                .last()
                .is_some_and(|batch| batch.len() >= MAX_RPC_ITEMS || size + encoded.len() > MAX_RPC_BYTES);
            if full {
                batches.push(Vec::new());
                size = 0;
            }
            size += encoded.len();
            self.asked.push(index);
            if let Some(batch) = batches.last_mut() {
                batch.push(encoded);
            }
        }
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// Supply the kernel's answers, in the order of [`SubmitPlan::policy_batches`]; `None` = no answer for that batch, because of
    /// `reason`. Tells whether the kernel is well.
    pub fn decide(&mut self, answers: &[(usize, Option<&[u8]>)], reason: &str) -> bool {
        let mut well = true;
        let mut asked = std::mem::take(&mut self.asked).into_iter();
        for (count, answer) in answers {
            let (words, call_well, snapshot) = judge::words(*count, *answer, reason);
            well &= call_well;
            if !snapshot.is_empty() {
                self.snapshot = snapshot;
            }
            for word in words {
                if let Some(item) = asked.next().and_then(|index| self.items.get_mut(index)) {
                    item.hear(word);
                }
            }
        }
        well
    }

    /// Topics of jobs whose payload the kernel asked for in the last round.
    pub fn content_topics(&self) -> Vec<String> {
        let wanted = self.items.iter().filter(|item| item.content == Content::Wanted);
        wanted.map(|item| item.request.topic.clone()).collect()
    }

    /// Whether some job still waits for a judgement.
    pub fn is_undecided(&self) -> bool {
        self.items
            .iter()
            .any(|item| item.open && item.judgement.is_none())
    }

    /// Leave every undecided job without an answer; `outage` as in [`Judgement::Unavailable`].
    pub fn give_up(&mut self, reason: &str, outage: bool) {
        for item in self.items.iter_mut().filter(|item| item.open) {
            item.judgement
                .get_or_insert_with(|| judge::unavailable(reason, outage));
        }
    }

    /// Tenants of the jobs an open fail mode would admit.
    pub fn bypassable(&self) -> Vec<String> {
        let mut tenants: Vec<String> = self
            .items
            .iter()
            .filter(|item| item.may_bypass())
            .map(|item| tenant_of(&item.request).to_owned())
            .collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }

    /// Admit the jobs of these tenants that [`SubmitPlan::bypassable`] stands for.
    pub fn bypass(&mut self, tenants: &[String]) {
        for item in self.items.iter_mut().filter(|item| item.may_bypass()) {
            let admitted = tenants.iter().any(|tenant| tenant == tenant_of(&item.request));
            if let (true, Some(Judgement::Unavailable { reason, .. })) = (admitted, &item.judgement) {
                item.judgement = Some(Judgement::Bypass {
                    reason: reason.clone(),
                });
            }
        }
    }
}

impl Item {
    fn policy_config(&self) -> &[u8] {
        self.config
            .as_ref()
            .map_or(&[], |config| config.policy.as_slice())
    }

    /// Take the judgement of a stored approval; return why an approval that is claimed does not count.
    fn judge_from_record(&mut self, current: &str) -> Option<Mismatch> {
        let record = self.record.as_ref()?;
        match judge::stored_approval(record, &self.request, &self.hash, self.is_gate(), current) {
            Approval::None => None,
            Approval::Settled(judgement) => {
                self.judgement.get_or_insert(judgement);
                None
            }
            Approval::Mismatch(cause) => {
                let asserted = self.request.labels.get("approval_snapshot");
                let mismatch = Mismatch {
                    cause,
                    job_id: self.request.job_id.clone(),
                    tenant: tenant_of(&self.request).to_owned(),
                    topic: self.request.topic.clone(),
                    stored_snapshot: record.text("safety_snapshot").to_owned(),
                    asserted_snapshot: asserted.cloned().unwrap_or_default(),
                };
                if cause == "hash" {
                    self.judgement = Some(Judgement::Altered);
                }
                Some(mismatch)
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Judged(judgement, eval_us) => {
                self.judgement = Some(judgement);
                self.eval_us = eval_us;
            }
            Word::NeedsContent if self.content == Content::Omitted => self.content = Content::Wanted,
            Word::NeedsContent => {
                self.judgement = Some(judge::unavailable(
                    "safety kernel asks for content it was given",
                    false,
                ));
            }
        }
        // Payloads are large and not needed again.
        if let Content::Here(bytes, _) = &mut self.content {
            *bytes = Vec::new();
        }
    }

    /// Only an outage of the kernel may be bypassed, never for a gate or for a job a human was to look at.
    fn may_bypass(&self) -> bool {
        let held = self
            .record
            .as_ref()
            .is_some_and(|r| r.text("safety_approval_required") == "true");
        let outage = matches!(self.judgement, Some(Judgement::Unavailable { outage: true, .. }));
        self.open && outage && !held && !self.is_gate()
    }
}
