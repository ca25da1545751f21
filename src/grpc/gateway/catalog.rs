//! What messages look like, and which method takes and gives which: the schema, read once.
//!
//! The gateway knows no message by its generated type. The descriptions that the schemas were
//! compiled to come along in the program, and are laid out here for the two questions that are
//! asked of every field: which number has this name, and which name has this number.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, EnumDescriptor};

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.descriptors"));

/// The schema of this build.
///
/// # Panics
/// If it has what the gateway cannot carry. A test reads it, so no such build is released.
pub fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        Catalog::read(DESCRIPTORS)
            .unwrap_or_else(|why| panic!("the schema under schema/etcd: {why}"))
    });
    &CATALOG
}

/// Every message and method there is.
#[derive(Debug)]
pub struct Catalog {
    messages: Vec<Message>,
    methods: BTreeMap<String, Method>,
}

/// A message's place in the catalog.
pub type MessageIndex = usize;

#[derive(Debug)]
pub struct Message {
    /// In the order of the schema's text, which is that of the answers.
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    /// As in the schema; answers have this one.
    pub name: String,
    /// The same in lower camel case; requests may have either.
    pub json_name: String,
    pub number: u32,
    pub is_list: bool,
    /// Of several fields with the same one, a message has one at most.
    pub oneof: Option<String>,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Text,
    Bytes,
    Enum(Enumeration),
    Message(MessageIndex),
}

#[derive(Debug)]
pub struct Enumeration {
    /// As Go calls the type, for errors.
    pub go_name: String,
    pub values: Vec<(i32, String)>,
}

#[derive(Debug)]
pub struct Method {
    /// Of the call, as in `/etcdserverpb.KV/Put`.
    pub path: String,
    pub input: MessageIndex,
    pub output: MessageIndex,
    /// Whether the client sends any number of messages.
    pub takes_many: bool,
    /// Whether the server does.
    pub gives_many: bool,
}

impl Catalog {
    fn read(descriptors: &[u8]) -> Result<Catalog, String> {
        let pool = DescriptorPool::decode(descriptors).map_err(|error| error.to_string())?;
        let names: BTreeMap<String, MessageIndex> = pool
            .all_messages()
            .enumerate()
            .map(|(index, message)| (message.full_name().to_owned(), index))
            .collect();
        let index_of = |name: &str| names.get(name).copied().ok_or(format!("no message {name}"));
        let mut messages = Vec::new();
        for message in pool.all_messages() {
            let mut fields = Vec::new();
            // The library has them by number; their text's order is in the description alone.
            for described in &message.descriptor_proto().field {
                let number = u32::try_from(described.number()).map_err(|e| e.to_string())?;
                let field = message.get_field(number).ok_or("a field without its description")?;
                use prost_reflect::Kind as Its;
                let kind = match field.kind() {
                    Its::Bool => Kind::Bool,
                    Its::Int32 => Kind::Int32,
                    Its::Int64 => Kind::Int64,
                    Its::Uint32 => Kind::Uint32,
                    Its::Uint64 => Kind::Uint64,
                    Its::String => Kind::Text,
                    Its::Bytes => Kind::Bytes,
                    Its::Enum(it) => Kind::Enum(Enumeration::of(&it)),
                    Its::Message(it) if !it.is_map_entry() => {
                        Kind::Message(index_of(it.full_name())?)
                    }
                    other => return Err(format!("{} is a {other:?}", field.full_name())),
                };
                fields.push(Field {
                    name: field.name().to_owned(),
                    json_name: field.json_name().to_owned(),
                    number,
                    is_list: field.is_list(),
                    oneof: field.containing_oneof().map(|it| it.name().to_owned()),
                    kind,
                });
            }
            messages.push(Message { fields });
        }
        let mut methods = BTreeMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let described = Method {
                    path: path.clone(),
                    input: index_of(method.input().full_name())?,
                    output: index_of(method.output().full_name())?,
                    takes_many: method.is_client_streaming(),
                    gives_many: method.is_server_streaming(),
                };
                methods.insert(path, described);
            }
        }
        Ok(Catalog { messages, methods })
    }

    pub fn message(&self, index: MessageIndex) -> &Message {
        &self.messages[index]
    }

    /// By its path, as in `/etcdserverpb.KV/Put`.
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values()
    }
}

impl Message {
    pub fn field_named(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json_name == name)
    }
}

impl Enumeration {
    fn of(described: &EnumDescriptor) -> Enumeration {
        let (package, full_name) = (described.package_name(), described.full_name());
        let inside = full_name.strip_prefix(package).unwrap_or(full_name).trim_start_matches('.');
        Enumeration {
            go_name: format!("{package}.{}", inside.replace('.', "_")),
            values: described.values().map(|it| (it.number(), it.name().to_owned())).collect(),
        }
    }

    pub fn number_of(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(_, it)| it == name).map(|(number, _)| *number)
    }

    pub fn name_of(&self, number: i32) -> Option<&str> {
        self.values.iter().find(|(it, _)| *it == number).map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_read_as_it_is_written() {
        let catalog = catalog();
        let watch = catalog.method("/etcdserverpb.Watch/Watch").unwrap();
        assert!(watch.takes_many && watch.gives_many);
        let observe = catalog.method("/v3electionpb.Election/Observe").unwrap();
        assert!(!observe.takes_many && observe.gives_many);
        let status = catalog.method("/etcdserverpb.Maintenance/Status").unwrap();
        assert!(!status.takes_many && !status.gives_many);
        let names: Vec<&str> =
            catalog.message(status.output).fields.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names[..4], ["header", "version", "dbSize", "leader"]);
        let compare = catalog.method("/etcdserverpb.KV/Txn").unwrap().input;
        let Kind::Message(compare) = catalog.message(compare).fields[0].kind else { panic!() };
        let compare = catalog.message(compare);
        let end = compare.field_named("rangeEnd").unwrap();
        assert_eq!((end.name.as_str(), end.number, &end.oneof), ("range_end", 64, &None));
        assert_eq!(compare.field_named("mod_revision").unwrap().oneof, Some("target_union".into()));
        assert!(compare.field_named("ModRevision").is_none());
        let Kind::Enum(target) = &compare.field_named("target").unwrap().kind else { panic!() };
        assert_eq!(target.go_name, "etcdserverpb.Compare_CompareTarget");
        assert_eq!((target.number_of("MOD"), target.name_of(2)), (Some(2), Some("MOD")));
    }
}
