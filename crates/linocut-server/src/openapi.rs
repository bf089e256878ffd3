//! `GET /openapi.json`: what the server answers to, as OpenAPI 3.1.

use axum::Json;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ArrayBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

use crate::error::ErrorBody;
use crate::predict::{LabelScore, Prediction};
use crate::{explain, metrics, predict, status, tasks, tei};

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(title = "linocut", description = "Many tasks on one base model"),
    paths(
        predict::predict,
        explain::explain,
        tei::predict,
        tasks::list,
        tasks::get,
        tasks::put,
        tasks::delete,
        tasks::cut,
        tasks::versions,
        tasks::roll_back,
        status::info,
        status::health,
        status::live,
        status::ready,
        metrics::metrics,
        openapi
    ),
    components(schemas(ErrorBody)),
    modifiers(&Keys),
    // Where the server has no keys, none is needed.
    security((), ("key" = []))
)]
struct Api;

/// The scheme of the API keys.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "server",
    security(()),
    responses((status = 200, description = "This description", body = Object))
)]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}

/// A text, or a pair of texts.
pub(crate) fn input() -> Schema {
    any_of([text(), texts(2, 2)], "A text or a pair")
}

/// A text, a pair of texts, or a list of such inputs.
pub(crate) fn inputs() -> Schema {
    let all = [text(), texts(2, 2), list(input())];
    any_of(all, "A text, a pair of texts, or a list of such inputs")
}

/// As text-embeddings-inference has them: a text, a list of one or two texts, or a list of such
/// lists.
pub(crate) fn tei_inputs() -> Schema {
    let all = [text(), texts(1, 2), list(texts(1, 2))];
    any_of(all, "A text, a list of one text or of a pair, or a list of such lists")
}

/// A prediction as one object: generated clients make nothing of a choice among three inside another.
impl PartialSchema for Prediction {
    fn schema() -> RefOr<Schema> {
        let kind = |kind| ObjectBuilder::new().schema_type(kind);
        let labels = ArrayBuilder::new().items(RefOr::T(kind(Type::String).into()));
        let scores = ArrayBuilder::new().items(Ref::from_schema_name(LabelScore::name()));
        let schema: Schema = ObjectBuilder::new()
            .property(
                "label",
                kind(Type::String).description(Some("Single-label: the most probable")),
            )
            .property(
                "score",
                kind(Type::Number).description(Some("Single-label: its probability")),
            )
            .property(
                "labels",
                labels
                    .description(Some("Multi-label: those more probable than not, highest first")),
            )
            .property(
                "scores",
                scores.description(Some("Labels with their probabilities, the highest first")),
            )
            .property("value", kind(Type::Number).description(Some("Regression: the number")))
            .property(
                "error",
                kind(Type::String)
                    .description(Some("In the place of all these: why there is no sense")),
            )
            .description(Some("A prediction, by the kind of task"))
            .into();
        schema.into()
    }
}

impl ToSchema for Prediction {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((LabelScore::name().into(), LabelScore::schema()));
    }
}

/// The bytes of a cut file.
pub(crate) struct CutFile;

impl PartialSchema for CutFile {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let schema = ObjectBuilder::new().schema_type(Type::String).format(Some(format));
        Schema::from(schema).into()
    }
}

impl ToSchema for CutFile {}

/// Names of tasks, or "all".
pub(crate) fn tasks() -> Schema {
    let all = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["all"]));
    let names = ArrayBuilder::new().items(RefOr::T(text())).min_items(Some(1)).unique_items(true);
    any_of([all.into(), names.into()], "Names of tasks, each once, or \"all\"")
}

/// A metric's name, or for the F1 of one label an object that names it.
pub(crate) fn metric() -> Schema {
    let names = ObjectBuilder::new().schema_type(Type::String);
    let of_label = ObjectBuilder::new().schema_type(Type::Object);
    any_of([names.into(), of_label.into()], "The score that it is judged by")
}

/// Not blank.
fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"\S")).into()
}

/// A list of so many texts.
fn texts(least: usize, most: usize) -> Schema {
    let items = ArrayBuilder::new().items(RefOr::T(text()));
    items.min_items(Some(least)).max_items(Some(most)).into()
}

/// A list of at least one.
fn list(items: Schema) -> Schema {
    ArrayBuilder::new().items(RefOr::T(items)).min_items(Some(1)).into()
}

fn any_of<const N: usize>(schemas: [Schema; N], description: &str) -> Schema {
    let any = schemas.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
    any.description(Some(description)).into()
}
