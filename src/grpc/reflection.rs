//! `grpc.reflection`: what is served here, for tools such as `grpcurl` that do not know it.
//!
//! The descriptors are those that the messages were generated from. Versions 1 and 1alpha differ in
//! their package's name and in nothing else, so both are served by the same messages.
//!
//! The library's own server wants to be moved between threads, like all generated ones.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic::body::Body;
use tonic::{Code, Streaming};

use super::call::{Call, reply};
use super::pb::grpc::reflection::v1 as pb;
use super::pb::grpc::reflection::v1::server_reflection_request::MessageRequest;
use super::pb::grpc::reflection::v1::server_reflection_response::MessageResponse;

pub struct Reflection;

impl Reflection {
    pub async fn route(self, method: &str, call: Call) -> Option<http::Response<Body>> {
        if method != "ServerReflectionInfo" {
            return None;
        }
        let served =
            call.stream(async |mut questions: Streaming<pb::ServerReflectionRequest>, replies| {
                while let Some(question) = questions.message().await? {
                    if reply(&replies, answer(question)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            });
        Some(served.await)
    }
}

/// The files, and what is where.
struct Index {
    /// By name.
    files: BTreeMap<String, Vec<u8>>,
    /// The file's name, by each full name of what it declares.
    symbols: BTreeMap<String, String>,
    services: Vec<String>,
}

impl Index {
    fn get() -> &'static Index {
        static INDEX: OnceLock<Index> = OnceLock::new();
        INDEX.get_or_init(|| {
            const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.descriptors"));
            // It is part of the program; a test reads it.
            let set = FileDescriptorSet::decode(BYTES).unwrap_or_default();
            Index::of(&set.file)
        })
    }

    fn of(files: &[FileDescriptorProto]) -> Index {
        let mut index =
            Index { files: BTreeMap::new(), symbols: BTreeMap::new(), services: Vec::new() };
        for file in files {
            let (name, package) = (file.name(), file.package());
            index.files.insert(name.to_owned(), file.encode_to_vec());
            for message in &file.message_type {
                index.declare_message(name, package, message);
            }
            for declared in &file.enum_type {
                index.declare(name, format!("{package}.{}", declared.name()));
            }
            for service in &file.service {
                let full = format!("{package}.{}", service.name());
                for method in &service.method {
                    index.declare(name, format!("{full}.{}", method.name()));
                }
                index.services.push(full.clone());
                index.declare(name, full);
            }
        }
        index
    }

    fn declare(&mut self, file: &str, symbol: String) {
        self.symbols.insert(symbol, file.to_owned());
    }

    fn declare_message(&mut self, file: &str, within: &str, message: &DescriptorProto) {
        let full = format!("{within}.{}", message.name());
        for inner in &message.nested_type {
            self.declare_message(file, &full, inner);
        }
        for declared in &message.enum_type {
            self.declare(file, format!("{full}.{}", declared.name()));
        }
        for field in &message.field {
            self.declare(file, format!("{full}.{}", field.name()));
        }
        self.declare(file, full);
    }

    fn file(&self, name: &str) -> Option<MessageResponse> {
        let file_descriptor_proto = vec![self.files.get(name)?.clone().into()];
        let found = pb::FileDescriptorResponse { file_descriptor_proto };
        Some(MessageResponse::FileDescriptorResponse(found))
    }
}

fn answer(question: pb::ServerReflectionRequest) -> pb::ServerReflectionResponse {
    let index = Index::get();
    let answered = match &question.message_request {
        Some(MessageRequest::FileByFilename(name)) => index.file(name),
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            let file = index.symbols.get(symbol.trim_start_matches('.'));
            file.and_then(|file| index.file(file))
        }
        Some(MessageRequest::ListServices(_)) => {
            let named = |name: &String| pb::ServiceResponse { name: name.clone() };
            let service = index.services.iter().map(named).collect();
            Some(MessageResponse::ListServicesResponse(pb::ListServiceResponse { service }))
        }
        // Nothing here has extensions.
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
            index.symbols.contains_key(name).then(|| {
                let base_type_name = name.clone();
                let none = pb::ExtensionNumberResponse { base_type_name, ..Default::default() };
                MessageResponse::AllExtensionNumbersResponse(none)
            })
        }
        Some(MessageRequest::FileContainingExtension(_)) => None,
        None => Some(refused(Code::InvalidArgument, "the question is empty")),
    };
    pb::ServerReflectionResponse {
        valid_host: question.host.clone(),
        original_request: Some(question),
        message_response: answered.or_else(|| Some(refused(Code::NotFound, "there is no such"))),
    }
}

fn refused(code: Code, message: &str) -> MessageResponse {
    let (error_code, error_message) = (code as i32, message.to_owned());
    MessageResponse::ErrorResponse(pb::ErrorResponse { error_code, error_message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: MessageRequest) -> MessageResponse {
        let message_request = Some(request);
        let question = pb::ServerReflectionRequest { message_request, ..Default::default() };
        answer(question).message_response.unwrap()
    }

    #[test]
    fn services_are_listed_and_everything_leads_to_its_file() {
        let MessageResponse::ListServicesResponse(list) =
            ask(MessageRequest::ListServices(String::new()))
        else {
            panic!("no list");
        };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        for name in
            ["etcdserverpb.KV", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        for symbol in [
            "etcdserverpb.KV",
            "etcdserverpb.KV.Range",
            ".etcdserverpb.RangeRequest",
            "etcdserverpb.RangeRequest.SortOrder",
            "etcdserverpb.RangeRequest.limit",
        ] {
            let found = ask(MessageRequest::FileContainingSymbol(symbol.into()));
            let MessageResponse::FileDescriptorResponse(file) = found else {
                panic!("{symbol}: {found:?}");
            };
            let file = FileDescriptorProto::decode(&file.file_descriptor_proto[0][..]).unwrap();
            assert_eq!(file.name(), "rpc.proto");
            for needed in &file.dependency {
                let found = ask(MessageRequest::FileByFilename(needed.clone()));
                assert!(matches!(found, MessageResponse::FileDescriptorResponse(_)), "{needed}");
            }
        }
        let nothing = ask(MessageRequest::FileContainingSymbol("nope.X".into()));
        let MessageResponse::ErrorResponse(error) = nothing else { panic!("{nothing:?}") };
        assert_eq!(error.error_code, Code::NotFound as i32);
    }
}
