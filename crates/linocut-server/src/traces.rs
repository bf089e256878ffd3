//! Traces of requests for OpenTelemetry, sent to a collector by OTLP over HTTP.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::HeaderMap;
use linocut::{Error, ErrorKind, Result};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

use crate::batch::Timing;

/// Time that a stop waits for what was not sent yet.
const LAST: Duration = Duration::from_secs(1);

/// Where traces go. A thread of its own sends them; of 2,048 spans that wait the newest are lost.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// To the collector at `endpoint`, such as `http://localhost:4318`, whose `/v1/traces` takes them. Names, sampling and
    /// headers are those of OpenTelemetry's own variables (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`,
    /// `OTEL_EXPORTER_OTLP_HEADERS`). Nothing is sent before there are requests.
    ///
    /// # Errors
    /// If `endpoint` is no address of HTTP.
    pub fn to(endpoint: &str) -> Result<Self> {
        // A process may have chosen how it encrypts already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |message: String| {
            let message = format!("the collector of traces {endpoint:?}: {message}");
            Error::new(ErrorKind::Config, message)
                .with_hint("expected an address such as http://localhost:4318")
        };
        let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(wrong("no address of HTTP".into()));
        }
        let to = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let collector = Collector {
            inner: OtlpExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&to)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
            to,
            failing: AtomicBool::new(false),
        };
        let mut resource = Resource::builder().build();
        let named = resource.get(&Key::new("service.name"));
        if named.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            resource = Resource::builder().with_service_name("linocut").build();
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(collector)
            .build();
        let tracer = provider.tracer("linocut");
        Ok(Self { provider, tracer })
    }

    /// The span of a request that begins, part of its client's trace where the header `traceparent` names one.
    pub(crate) fn begin(&self, request: &Request, method: &str, route: &str) -> RequestSpan {
        let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
        let builder = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_string()),
                KeyValue::new("http.route", route.to_string()),
                KeyValue::new("url.path", request.uri().path().to_string()),
            ]);
        let span = self.tracer.build_with_context(builder, &parent);
        RequestSpan { span, tracer: self.tracer.clone() }
    }

    /// Sends what waits, for a second at most. Blocks.
    pub(crate) fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "traces were not sent");
        }
    }
}

/// A collector, of which the log says once that it takes no traces, and once that it takes them again.
#[derive(Debug)]
struct Collector {
    inner: OtlpExporter,
    to: String,
    failing: AtomicBool,
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.inner.export(batch).await;
        let (was_failing, to) = (self.failing.swap(sent.is_err(), Relaxed), &self.to);
        match sent {
            Err(error) if !was_failing => {
                tracing::error!(%error, to, "traces are not taken, and lost until they are");
            }
            Ok(()) if was_failing => tracing::info!(to, "traces are taken again"),
            _ => {}
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// A request's span, which ends when this is dropped.
pub(crate) struct RequestSpan {
    span: opentelemetry_sdk::trace::Span,
    tracer: SdkTracer,
}

impl RequestSpan {
    /// The trace's id, as logs name it.
    pub(crate) fn trace(&self) -> String {
        self.span.span_context().trace_id().to_string()
    }

    /// Where the time of the request went, as spans of their own.
    pub(crate) fn parts(&self, timing: &Timing) {
        let context = Context::new().with_remote_span_context(self.span.span_context().clone());
        let ended = SystemTime::now() - timing.ended.elapsed();
        let started = ended - timing.computed;
        for (name, from, to) in
            [("queue", started - timing.waited, started), ("compute", started, ended)]
        {
            let builder = SpanBuilder::from_name(name).with_start_time(from);
            self.tracer.build_with_context(builder, &context).end_with_timestamp(to);
        }
    }

    /// How it ended.
    pub(crate) fn status(&mut self, id: &str, status: u16, error_type: Option<&'static str>) {
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        self.span.set_attribute(KeyValue::new("linocut.request_id", id.to_string()));
        if let Some(error_type) = error_type {
            self.span.set_attribute(KeyValue::new("error.type", error_type));
        }
        if status >= 500 {
            self.span.set_status(Status::error(""));
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
