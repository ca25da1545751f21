//! Tells a collector what was seen of a path (OpenTelemetry, over OTLP).
//!
//! The node's own thread must never wait for a collector: what it tells goes into a bounded queue,
//! and what does not fit is dropped (OTEL_BSP_MAX_QUEUE_SIZE). The conversation has threads of its
//! own. Where, how often and in whose name is said by OpenTelemetry's variables for its exporter
//! (OTEL_EXPORTER_OTLP_…, over gRPC only), for batches (OTEL_BSP_…), for names (OTEL_SERVICE_NAME,
//! OTEL_RESOURCE_ATTRIBUTES), and OTEL_SDK_DISABLED. What is sampled is said by who asks.

use std::env;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tokio::sync::oneshot;

use crate::types::{NodeId, TraceContext};

/// Which side of a conversation a part of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It asks another program, and waits for the answer.
    Client,
    /// It was asked by another program.
    Server,
    /// Neither.
    Inside,
}

/// A part of a path, as it was seen.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: &'static str,
    pub side: Side,
    /// What it is a part of; `None`: the path begins here.
    pub parent: Option<TraceContext>,
    pub own: TraceContext,
    pub from: SystemTime,
    pub to: SystemTime,
    pub attributes: Vec<(&'static str, u64)>,
}

struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// Dropped, it ends the thread on which the conversation runs.
    _alive: oneshot::Sender<()>,
}

/// Of the whole program, like its log.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// From now on, what is told goes to the collector that the environment names, if it names one: in
/// the name of `service`, unless the environment has another.
///
/// # Errors
/// In words: it names one that makes no sense.
pub fn begin(service: &str, node: Option<NodeId>) -> Result<(), String> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let is_off = env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
    if is_off || !named.into_iter().any(is_set) {
        return Ok(());
    }
    let mut resource = Resource::builder();
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    if !is_set("OTEL_SERVICE_NAME") && !attributes.contains("service.name=") {
        resource = resource.with_service_name(service.to_owned());
    }
    if let Some(node) = node {
        // Several processes of one service: this is what tells them apart.
        resource = resource.with_attribute(KeyValue::new("service.instance.id", node.to_string()));
    }
    let (processor, alive) = converse(resource.build())?;
    let scope = InstrumentationScope::builder("kvraft").with_version(crate::observe::VERSION);
    // A second beginning in one process changes nothing.
    let _ = EXPORTER.set(Exporter { processor, scope: scope.build(), _alive: alive });
    Ok(())
}

/// Whether anybody is told.
pub fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// Tells of `span`, some time; it may be dropped. Only what somebody wants to see is told.
pub fn tell(span: Span) {
    let Some(exporter) = EXPORTER.get().filter(|_| span.own.sampled) else { return };
    let attribute = |(name, value): (&'static str, u64)| {
        KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
    };
    exporter.processor.on_end(SpanData {
        span_context: context(span.own),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |it| SpanId::from(it.span)),
        parent_span_is_remote: span.side == Side::Server,
        span_kind: match span.side {
            Side::Client => SpanKind::Client,
            Side::Server => SpanKind::Server,
            Side::Inside => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: span.from,
        end_time: span.to.max(span.from),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: exporter.scope.clone(),
    });
}

/// Waits so long at most for what was told to be on its way. Nothing is told after that.
pub fn end(patience: Duration) {
    if let Some(exporter) = EXPORTER.get()
        && let Err(error) = exporter.processor.shutdown_with_timeout(patience)
    {
        tracing::warn!(%error, "not all of the requests' paths were told");
    }
}

fn context(of: TraceContext) -> SpanContext {
    let (trace, span) = (TraceId::from(of.trace), SpanId::from(of.span));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// Starts the thread on which the collector is talked to.
fn converse(resource: Resource) -> Result<(BatchSpanProcessor, oneshot::Sender<()>), String> {
    let (alive, until) = oneshot::channel::<()>();
    let (begun, ready) = mpsc::sync_channel(1);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(begun.send(Err(error.to_string()))),
        };
        runtime.block_on(async move {
            // Connects when there is something to tell, and again when it must.
            let exporter = SpanExporter::builder().with_tonic().build();
            let processor = exporter.map_err(|error| error.to_string()).map(|exporter| {
                let mut processor = BatchSpanProcessor::builder(exporter).build();
                processor.set_resource(&resource);
                processor
            });
            if begun.send(processor).is_ok() {
                let _ = until.await;
            }
        });
    };
    let thread = thread::Builder::new().name("otel".to_owned()).spawn(work);
    thread.map_err(|error| error.to_string())?;
    let processor = ready.recv().map_err(|error| error.to_string())??;
    Ok((processor, alive))
}
