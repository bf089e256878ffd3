//! `linocut pack --adapter`

use super::{PackArgs, Rows, Verified, report};
use crate::output::say;
use linocut::Result;
use linocut::cut::Cut;
use linocut::model::Pooling;
use linocut::output;
use linocut::pack::{self, AdapterFolder};
use std::path::Path;

/// Packs the adapter in `folder`.
pub(super) fn run(args: &PackArgs, folder: &Path) -> Result<()> {
    let found = AdapterFolder::open(folder)?;
    let mut base = args.base.open(Some(Pooling::First))?;
    let mut adapter = found.on(&base, args.problem, args.labels.clone())?;
    args.set(&mut adapter.outline, &base)?;
    if let Some(other) = &adapter.other_base {
        say(&format!(
            "note: {} says that it was trained on {other}; on other weights than its own it labels nothing",
            folder.display()
        ));
    }
    let rows = args.rows(&mut adapter.outline, &base)?;
    let score = rows.as_ref().map(|rows| rows.score(&adapter.outline));
    let score: Option<pack::Score<'_>> = score.as_ref().map(|score| score as _);
    let cut = adapter.pack(&mut base, score)?;
    let verified = match args.verify {
        true => {
            let cut = Cut::from_bytes(&cut.to_bytes())?;
            let (texts, pairs) = rows.as_ref().map_or((&[][..], None), Rows::some);
            let (texts, difference) = adapter.check_logits(&mut base, &cut, texts, pairs)?;
            Some(Verified::Near { texts, difference })
        }
        false => None,
    };
    let kept = output::keep(&args.out, args.force, |path, force| cut.write(path, force))?;
    report(args, &kept.path, adapter.bytes, &cut, verified)?;
    kept.check(&args.out)
}
