//! The Lua scripts of the store, run by a real Lua 5.1 with the parts of Redis's environment they use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};
use rmpv::Value as Packed;
use serde_json::Value as Json;

use crate::redis::{tag_of, Database, Resp};

/// The database a running script works on.
pub type Node = Rc<RefCell<Database>>;

/// A wrong edit of a script's text: file, what it says, what it would say.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
}

/// Compiled scripts by name.
pub struct Scripts {
    lua: Lua,
    functions: BTreeMap<String, Function>,
    node: Rc<RefCell<Option<Node>>>,
}

/// Sources by file name, with `-- include` lines replaced as the Python loader does.
fn sources(edit: Option<Edit>) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/cordum/store/lua");
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lua") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            texts.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    if let Some(edit) = edit {
        let text = texts.get_mut(edit.file).unwrap();
        *text = text.replacen(edit.find, edit.replace, 1);
    }
    let parts: BTreeMap<String, String> = texts
        .iter()
        .filter_map(|(name, text)| name.strip_prefix('_').map(|part| (part.to_owned(), text.clone())))
        .collect();
    texts.retain(|name, _| !name.starts_with('_'));
    for text in texts.values_mut() {
        *text = spliced(text, &parts);
    }
    texts
}

/// A text with the parts it includes, and those that they include.
fn spliced(text: &str, parts: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("-- include ") {
            Some(part) => spliced(&parts[part], parts),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

/// How often an edit's text occurs in its file.
pub fn occurrences(edit: &Edit) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../python/cordum/store/lua")
        .join(format!("{}.lua", edit.file));
    std::fs::read_to_string(path).map_or(0, |text| text.matches(edit.find).count())
}

impl Scripts {
    /// Load every script, with one wrong edit if given.
    pub fn load(edit: Option<Edit>) -> Self {
        let lua = Lua::new();
        let node = Rc::new(RefCell::new(None));
        environment(&lua, &node).unwrap();
        let functions = sources(edit)
            .into_iter()
            .map(|(name, text)| {
                let function = lua.load(text).set_name(name.as_str()).into_function().unwrap();
                (name, function)
            })
            .collect();
        Scripts { lua, functions, node }
    }

    /// Run a script on a node. Keys of another slot are refused.
    pub fn run(&self, node: &Node, name: &str, key: &str, args: &[Vec<u8>]) -> Resp {
        let Some(function) = self.functions.get(name) else {
            return Resp::Error(format!("NOSCRIPT {name}"));
        };
        self.node.replace(Some(Rc::clone(node)));
        node.borrow_mut().slot = Some(tag_of(key).to_owned());
        let reply = self.call(function, key, args);
        node.borrow_mut().slot = None;
        match reply {
            Ok(value) => from_lua(&value),
            Err(error) => Resp::Error(format!("ERR {name}: {error}")),
        }
    }

    fn call(&self, function: &Function, key: &str, args: &[Vec<u8>]) -> mlua::Result<Value> {
        let keys = self.lua.create_table()?;
        keys.raw_set(1, key)?;
        let argv = self.lua.create_table_with_capacity(args.len(), 0)?;
        for (index, arg) in args.iter().enumerate() {
            argv.raw_set(index + 1, self.lua.create_string(arg)?)?;
        }
        let globals = self.lua.globals();
        globals.raw_set("KEYS", keys)?;
        globals.raw_set("ARGV", argv)?;
        function.call(())
    }
}

fn environment(lua: &Lua, node: &Rc<RefCell<Option<Node>>>) -> mlua::Result<()> {
    let redis = lua.create_table()?;
    let here = Rc::clone(node);
    redis.set(
        "call",
        lua.create_function(move |lua, args: MultiValue| match run(&here, args)? {
            Resp::Error(text) => Err(mlua::Error::runtime(text)),
            reply => to_lua(lua, &reply),
        })?,
    )?;
    let here = Rc::clone(node);
    redis.set(
        "pcall",
        lua.create_function(move |lua, args: MultiValue| to_lua(lua, &run(&here, args)?))?,
    )?;
    let globals = lua.globals();
    globals.set("redis", redis)?;
    let cmsgpack = lua.create_table()?;
    cmsgpack.set(
        "unpack",
        lua.create_function(|lua, packed: mlua::String| {
            let value = rmpv::decode::read_value(&mut &*packed.as_bytes()).map_err(mlua::Error::external)?;
            packed_to_lua(lua, &value)
        })?,
    )?;
    globals.set("cmsgpack", cmsgpack)?;
    let cjson = lua.create_table()?;
    cjson.set(
        "encode",
        lua.create_function(|_, table: Table| {
            let mut fields = serde_json::Map::new();
            for pair in table.pairs::<String, Value>() {
                let (name, value) = pair?;
                fields.insert(name, lua_to_json(&value));
            }
            Ok(Json::Object(fields).to_string())
        })?,
    )?;
    globals.set("cjson", cjson)
}

/// Arguments as Redis takes them from Lua: strings, and numbers as decimal text.
fn run(node: &Rc<RefCell<Option<Node>>>, args: MultiValue) -> mlua::Result<Resp> {
    let mut command = Vec::with_capacity(args.len());
    for arg in args {
        command.push(match arg {
            Value::String(text) => text.as_bytes().to_vec(),
            Value::Integer(number) => number.to_string().into_bytes(),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                (number as i64).to_string().into_bytes()
            }
            Value::Number(number) => format!("{number}").into_bytes(),
            _ => {
                return Ok(Resp::Error(
                    "ERR Lua redis lib command arguments must be strings or integers".into(),
                ))
            }
        });
    }
    let node = node.borrow().clone();
    Ok(node.map_or(Resp::Error("ERR no database".into()), |node| {
        node.borrow_mut().run(&command)
    }))
}

fn to_lua(lua: &Lua, reply: &Resp) -> mlua::Result<Value> {
    Ok(match reply {
        Resp::Nil => Value::Boolean(false),
        Resp::Int(number) => Value::Number(*number as f64),
        Resp::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Resp::Status(word) => {
            let table = lua.create_table()?;
            table.raw_set("ok", *word)?;
            Value::Table(table)
        }
        Resp::Error(text) => {
            let table = lua.create_table()?;
            table.raw_set("err", text.as_str())?;
            Value::Table(table)
        }
        Resp::List(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A reply as Redis makes it of a script's value: numbers are cut to integers, a list ends at its first nil.
fn from_lua(value: &Value) -> Resp {
    match value {
        Value::Integer(number) => Resp::Int(*number),
        Value::Number(number) => Resp::Int(*number as i64),
        Value::String(text) => Resp::Bulk(text.as_bytes().to_vec()),
        Value::Boolean(true) => Resp::Int(1),
        Value::Table(table) => {
            let mut items = Vec::new();
            for index in 1.. {
                match table.raw_get::<Value>(index) {
                    Ok(Value::Nil) | Err(_) => break,
                    Ok(item) => items.push(from_lua(&item)),
                }
            }
            Resp::List(items)
        }
        _ => Resp::Nil,
    }
}

fn packed_to_lua(lua: &Lua, value: &Packed) -> mlua::Result<Value> {
    Ok(match value {
        Packed::Boolean(flag) => Value::Boolean(*flag),
        Packed::String(text) => Value::String(lua.create_string(text.as_bytes())?),
        Packed::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, packed_to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
        Packed::Map(members) => {
            let table = lua.create_table_with_capacity(0, members.len())?;
            for (name, item) in members {
                table.raw_set(packed_to_lua(lua, name)?, packed_to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
        number => number.as_f64().map_or(Value::Nil, Value::Number),
    })
}

fn lua_to_json(value: &Value) -> Json {
    match value {
        Value::Integer(number) => Json::from(*number),
        Value::Number(number) => Json::from(*number as i64),
        Value::String(text) => Json::from(text.to_string_lossy()),
        Value::Boolean(flag) => Json::from(*flag),
        _ => Json::Null,
    }
}
