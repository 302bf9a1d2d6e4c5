//! One Redis primary in memory: the commands the scheduler uses, expiry by virtual time, and an undo log for fail-over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use crate::resp::{Argument, Command, Resp};

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Text(Vec<u8>),
    Hash(BTreeMap<String, Vec<u8>>),
    List(VecDeque<Vec<u8>>),
    Sorted(BTreeMap<String, f64>),
    Set(BTreeSet<String>),
}

/// A key's value and expiry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub data: Data,
    /// Virtual time in µs at which it goes.
    pub expires: Option<i64>,
}

/// One primary.
#[derive(Debug, Default)]
pub struct Database {
    entries: BTreeMap<String, Entry>,
    pub now: std::cell::Cell<i64>,
    /// Keys written since somebody last looked.
    pub touched: Vec<String>,
    /// Whether writes are kept for [`Database::lose_since`].
    pub journaling: bool,
    journal: Vec<(i64, String, Option<Entry>)>,
    /// The tag scripts may touch while one runs.
    pub slot: Option<String>,
}

/// Hash tag of a key: what is between the first braces, else the key.
pub fn tag_of(key: &str) -> &str {
    match key.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        Some((tag, _)) if !tag.is_empty() => tag,
        _ => key,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> f64 {
    match bytes {
        b"-inf" => f64::NEG_INFINITY,
        b"+inf" | b"inf" => f64::INFINITY,
        _ => std::str::from_utf8(bytes)
            .ok()
            .and_then(|word| word.parse().ok())
            .unwrap_or(f64::NAN),
    }
}

fn integer(bytes: &[u8]) -> i64 {
    number(bytes) as i64
}

fn bulk(word: &str) -> Resp {
    Resp::Bulk(word.as_bytes().to_vec())
}

fn score_text(score: f64) -> Resp {
    bulk(&format!("{score}"))
}

const WRONG_TYPE: &str = "WRONGTYPE operation against a key holding the wrong kind of value";

impl Database {
    /// Value of a key that has not expired.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries
            .get(key)
            .filter(|entry| entry.expires.is_none_or(|at| at > self.now.get()))
    }

    /// Field of a hash, empty when absent.
    pub fn field(&self, key: &str, name: &str) -> String {
        match self.get(key).map(|entry| &entry.data) {
            Some(Data::Hash(fields)) => fields.get(name).map(|value| text(value)).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Members of a sorted set, lowest first.
    pub fn ranked(&self, key: &str) -> Vec<(String, f64)> {
        let Some(Data::Sorted(members)) = self.get(key).map(|entry| &entry.data) else {
            return Vec::new();
        };
        let mut list: Vec<_> = members
            .iter()
            .map(|(member, score)| (member.clone(), *score))
            .collect();
        list.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        list
    }

    /// Score of a member.
    pub fn score(&self, key: &str, member: &str) -> Option<f64> {
        match self.get(key).map(|entry| &entry.data) {
            Some(Data::Sorted(members)) => members.get(member).copied(),
            _ => None,
        }
    }

    /// Whether a set has a member.
    pub fn has(&self, key: &str, member: &str) -> bool {
        matches!(self.get(key).map(|entry| &entry.data), Some(Data::Set(members)) if members.contains(member))
    }

    /// Entries of a list, first to last.
    pub fn list(&self, key: &str) -> Vec<Vec<u8>> {
        match self.get(key).map(|entry| &entry.data) {
            Some(Data::List(items)) => items.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Change the text of a key, whose time to live stays; false when there is none.
    pub fn overwrite(&mut self, key: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        self.touch(key);
        match self.entries.get_mut(key).map(|entry| &mut entry.data) {
            Some(Data::Text(bytes)) => {
                *bytes = change(bytes);
                true
            }
            _ => false,
        }
    }

    /// Keys that begin with `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.expires.is_none_or(|at| at > self.now.get()))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Take back every write after `since`, as a fail-over to a replica that lags does.
    pub fn lose_since(&mut self, since: i64) {
        while self.journal.last().is_some_and(|(at, _, _)| *at > since) {
            let Some((_, key, before)) = self.journal.pop() else {
                break;
            };
            self.touched.push(key.clone());
            match before {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
    }

    fn touch(&mut self, key: &str) {
        let stale = self
            .entries
            .get(key)
            .is_some_and(|entry| entry.expires.is_some_and(|at| at <= self.now.get()));
        if stale {
            self.entries.remove(key);
        }
        if self.journaling {
            self.journal
                .push((self.now.get(), key.to_owned(), self.entries.get(key).cloned()));
        }
        self.touched.push(key.to_owned());
    }

    fn slot_mut(&mut self, key: &str, empty: Data) -> &mut Data {
        self.touch(key);
        let fresh = Entry {
            data: empty,
            expires: None,
        };
        &mut self.entries.entry(key.to_owned()).or_insert(fresh).data
    }

    fn drop_if_empty(&mut self, key: &str) {
        let empty = match self.entries.get(key).map(|entry| &entry.data) {
            Some(Data::Hash(fields)) => fields.is_empty(),
            Some(Data::List(items)) => items.is_empty(),
            Some(Data::Sorted(members)) => members.is_empty(),
            Some(Data::Set(members)) => members.is_empty(),
            _ => false,
        };
        if empty {
            self.entries.remove(key);
        }
    }

    /// Run one command.
    pub fn run(&mut self, args: &[Vec<u8>]) -> Resp {
        let name = text(&args[0]);
        let key = args.get(1).map(|key| text(key)).unwrap_or_default();
        if let Some(slot) = &self.slot {
            if tag_of(&key) != slot {
                return Resp::Error(format!("CROSSSLOT {name} {key} in a script of {slot}"));
            }
        }
        let rest = args.get(2..).unwrap_or_default();
        match name.as_str() {
            "GET" => match self.get(&key).map(|entry| &entry.data) {
                Some(Data::Text(value)) => Resp::Bulk(value.clone()),
                None => Resp::Nil,
                _ => Resp::Error(WRONG_TYPE.into()),
            },
            "SET" => self.set(&key, rest),
            "DEL" => {
                self.touch(&key);
                Resp::Int(i64::from(self.entries.remove(&key).is_some()))
            }
            "EXISTS" => Resp::Int(i64::from(self.get(&key).is_some())),
            "EXPIRE" => self.expire(&key, integer(&rest[0]) * 1_000_000),
            "PEXPIRE" => self.expire(&key, integer(&rest[0]) * 1_000),
            "HGET" | "HMGET" | "HGETALL" | "HSET" | "HDEL" | "HINCRBY" => self.hash(&name, &key, rest),
            "LPUSH" | "RPUSH" | "LSET" | "LTRIM" | "LRANGE" => self.list_command(&name, &key, rest),
            "ZADD" | "ZREM" | "ZCARD" | "ZSCORE" | "ZRANGE" | "ZRANGEBYSCORE" | "ZREMRANGEBYRANK"
            | "ZPOPMIN" => self.sorted(&name, &key, rest),
            "SADD" => {
                let members: Vec<String> = rest.iter().map(|member| text(member)).collect();
                match self.slot_mut(&key, Data::Set(BTreeSet::new())) {
                    Data::Set(set) => {
                        Resp::Int(members.into_iter().filter(|m| set.insert(m.clone())).count() as i64)
                    }
                    _ => Resp::Error(WRONG_TYPE.into()),
                }
            }
            "SMEMBERS" => match self.get(&key).map(|entry| &entry.data) {
                Some(Data::Set(set)) => Resp::List(set.iter().map(|member| bulk(member)).collect()),
                _ => Resp::List(Vec::new()),
            },
            _ => Resp::Error(format!("ERR unknown command {name}")),
        }
    }

    fn set(&mut self, key: &str, rest: &[Vec<u8>]) -> Resp {
        let mut expires = None;
        let mut only_new = false;
        let mut options = rest[1..].iter();
        while let Some(option) = options.next() {
            match option.as_slice() {
                b"NX" => only_new = true,
                b"EX" => expires = options.next().map(|s| self.now.get() + integer(s) * 1_000_000),
                b"PX" => expires = options.next().map(|ms| self.now.get() + integer(ms) * 1_000),
                _ => return Resp::Error("ERR syntax error".into()),
            }
        }
        if only_new && self.get(key).is_some() {
            return Resp::Nil;
        }
        self.touch(key);
        let data = Data::Text(rest[0].clone());
        self.entries.insert(key.to_owned(), Entry { data, expires });
        Resp::Status("OK")
    }

    fn expire(&mut self, key: &str, after_us: i64) -> Resp {
        if self.get(key).is_none() {
            return Resp::Int(0);
        }
        self.touch(key);
        let at = self.now.get() + after_us;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.expires = Some(at);
        }
        Resp::Int(1)
    }

    fn hash(&mut self, name: &str, key: &str, rest: &[Vec<u8>]) -> Resp {
        if matches!(name, "HGET" | "HMGET" | "HGETALL") {
            let empty = BTreeMap::new();
            let fields = match self.get(key).map(|entry| &entry.data) {
                Some(Data::Hash(fields)) => fields,
                None => &empty,
                _ => return Resp::Error(WRONG_TYPE.into()),
            };
            let read = |field: &Vec<u8>| {
                fields
                    .get(&text(field))
                    .map_or(Resp::Nil, |value| Resp::Bulk(value.clone()))
            };
            return match name {
                "HGET" => read(&rest[0]),
                "HMGET" => Resp::List(rest.iter().map(read).collect()),
                _ => Resp::List(
                    fields
                        .iter()
                        .flat_map(|(field, value)| [bulk(field), Resp::Bulk(value.clone())])
                        .collect(),
                ),
            };
        }
        let Data::Hash(fields) = self.slot_mut(key, Data::Hash(BTreeMap::new())) else {
            return Resp::Error(WRONG_TYPE.into());
        };
        let mut count = 0;
        if name == "HSET" {
            if rest.is_empty() || rest.len() % 2 == 1 {
                return Resp::Error("ERR wrong number of arguments for HSET".into());
            }
            for pair in rest.chunks_exact(2) {
                count += i64::from(fields.insert(text(&pair[0]), pair[1].clone()).is_none());
            }
        } else if name == "HINCRBY" {
            let field = fields.entry(text(&rest[0])).or_default();
            count = integer(if field.is_empty() { b"0" } else { field.as_slice() }) + integer(&rest[1]);
            *field = count.to_string().into_bytes();
        } else {
            if rest.is_empty() {
                return Resp::Error("ERR wrong number of arguments for HDEL".into());
            }
            for field in rest {
                count += i64::from(fields.remove(&text(field)).is_some());
            }
        }
        self.drop_if_empty(key);
        Resp::Int(count)
    }

    fn list_command(&mut self, name: &str, key: &str, rest: &[Vec<u8>]) -> Resp {
        if name == "LRANGE" {
            return Resp::List(self.list(key).into_iter().map(Resp::Bulk).collect());
        }
        if name == "LSET" && self.get(key).is_none() {
            return Resp::Error("ERR no such key".into());
        }
        let Data::List(items) = self.slot_mut(key, Data::List(VecDeque::new())) else {
            return Resp::Error(WRONG_TYPE.into());
        };
        let reply = match name {
            "LPUSH" => {
                rest.iter().for_each(|item| items.push_front(item.clone()));
                Resp::Int(items.len() as i64)
            }
            "RPUSH" => {
                items.extend(rest.iter().cloned());
                Resp::Int(items.len() as i64)
            }
            "LSET" => match items.get_mut(integer(&rest[0]) as usize) {
                Some(slot) => {
                    slot.clone_from(&rest[1]);
                    Resp::Status("OK")
                }
                None => Resp::Error("ERR index out of range".into()),
            },
            _ => {
                items.truncate((integer(&rest[1]) + 1).max(0) as usize);
                Resp::Status("OK")
            }
        };
        self.drop_if_empty(key);
        reply
    }

    fn sorted(&mut self, name: &str, key: &str, rest: &[Vec<u8>]) -> Resp {
        match name {
            "ZCARD" => return Resp::Int(self.ranked(key).len() as i64),
            "ZSCORE" => return self.score(key, &text(&rest[0])).map_or(Resp::Nil, score_text),
            "ZRANGE" => {
                let list = self.ranked(key);
                let with_scores = rest.get(2).is_some();
                return scored(slice(&list, integer(&rest[0]), integer(&rest[1])), with_scores);
            }
            "ZRANGEBYSCORE" => {
                let (low, high) = (number(&rest[0]), number(&rest[1]));
                let list: Vec<_> = self
                    .ranked(key)
                    .into_iter()
                    .filter(|(_, s)| (low..=high).contains(s))
                    .collect();
                let (skip, limit) = match rest.get(2) {
                    Some(_) => (integer(&rest[3]) as usize, integer(&rest[4]) as usize),
                    None => (0, usize::MAX),
                };
                let page: Vec<_> = list.into_iter().skip(skip).take(limit).collect();
                return scored(&page, false);
            }
            "ZADD" => return self.add(key, rest),
            _ => {}
        }
        let doomed: Vec<(String, f64)> = match name {
            "ZREM" if rest.is_empty() => return Resp::Error("ERR wrong number of arguments for ZREM".into()),
            "ZREM" => rest.iter().map(|member| (text(member), 0.0)).collect(),
            "ZPOPMIN" => self
                .ranked(key)
                .into_iter()
                .take(integer(&rest[0]) as usize)
                .collect(),
            _ => slice(&self.ranked(key), integer(&rest[0]), integer(&rest[1])).to_vec(),
        };
        if doomed.is_empty() || self.get(key).is_none() {
            return if name == "ZPOPMIN" {
                Resp::List(Vec::new())
            } else {
                Resp::Int(0)
            };
        }
        let Data::Sorted(members) = self.slot_mut(key, Data::Sorted(BTreeMap::new())) else {
            return Resp::Error(WRONG_TYPE.into());
        };
        let removed = doomed
            .iter()
            .filter(|(member, _)| members.remove(member).is_some())
            .count();
        self.drop_if_empty(key);
        if name == "ZPOPMIN" {
            return scored(&doomed, true);
        }
        Resp::Int(removed as i64)
    }

    fn add(&mut self, key: &str, rest: &[Vec<u8>]) -> Resp {
        let option = rest.first().map(Vec::as_slice);
        let (only_new, only_known) = (option == Some(b"NX"), option == Some(b"XX"));
        let pairs = if only_new || only_known { &rest[1..] } else { rest };
        if pairs.is_empty()
            || pairs.len() % 2 == 1
            || pairs.chunks_exact(2).any(|pair| number(&pair[0]).is_nan())
        {
            return Resp::Error("ERR value is not a valid float".into());
        }
        if only_known && self.get(key).is_none() {
            return Resp::Int(0);
        }
        let Data::Sorted(members) = self.slot_mut(key, Data::Sorted(BTreeMap::new())) else {
            return Resp::Error(WRONG_TYPE.into());
        };
        let mut added = 0;
        for pair in pairs.chunks_exact(2) {
            let member = text(&pair[1]);
            let known = members.contains_key(&member);
            if (only_new && known) || (only_known && !known) {
                continue;
            }
            members.insert(member, number(&pair[0]));
            added += i64::from(!known);
        }
        self.drop_if_empty(key);
        Resp::Int(added)
    }
}

fn slice(list: &[(String, f64)], first: i64, last: i64) -> &[(String, f64)] {
    let count = list.len() as i64;
    let from = if first < 0 { (count + first).max(0) } else { first };
    let to = if last < 0 {
        count + last
    } else {
        last.min(count - 1)
    };
    if from > to || from >= count {
        return &[];
    }
    &list[from as usize..=to as usize]
}

fn scored(list: &[(String, f64)], with_scores: bool) -> Resp {
    let mut items = Vec::with_capacity(list.len() * 2);
    for (member, score) in list {
        items.push(bulk(member));
        if with_scores {
            items.push(score_text(*score));
        }
    }
    Resp::List(items)
}
