//! `linocut doctor`

use crate::args::BaseArgs;
use crate::output::{aligned, counted, print};
use clap::Args;
use linocut::cut::Cut;
use linocut::model::{Base, Pooling};
use linocut::output::in_words;
use linocut::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// Say what this machine has and whether the base and cuts work on it.
///
/// Names the instructions that kernels can use, cores, memory, and the base with its fingerprints; of cuts, whether each belongs
/// to the base and its probes come out as they should. Exits with 1 if something is wrong.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut doctor --base models/all-minilm-l6-v2 cuts/*.cut")]
pub(crate) struct DoctorArgs {
    /// Cuts to try
    #[arg(value_name = "CUT")]
    pub cuts: Vec<PathBuf>,

    #[command(flatten)]
    pub base: BaseArgs,
}

pub(crate) fn run(args: DoctorArgs) -> Result<()> {
    let threads = args.base.threads;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = vec![
        ("linocut", env!("CARGO_PKG_VERSION").to_string()),
        (
            "processor",
            [instructions(), counted(cores, "core"), counted(threads.unwrap_or(cores), "thread")]
                .join(", "),
        ),
    ];
    if let Some((total, free)) = memory() {
        let limit = memory_limit().filter(|limit| *limit < total);
        let limit = limit.map_or(String::new(), |limit| {
            format!("; {} for this container or service", in_words(limit))
        });
        rows.push(("memory", format!("{}, {} of it free{limit}", in_words(total), in_words(free))));
    }
    let base = args.base.open(Some(Pooling::First));
    match &base {
        Ok(base) => rows.extend(of_base(base)),
        Err(e) => rows.push(("base", format!("FAILED: {}", e.message()))),
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(what, found)| vec![what.to_string(), found]).collect();
    print(&aligned(&rows))?;
    let mut base = base?;
    let before = base.weights.digest();
    let mut failed = 0;
    for path in &args.cuts {
        let tried = Cut::read(path).and_then(|cut| Ok((cut.verify(&mut base, before)?, cut)));
        match tried {
            Ok((difference, cut)) => {
                let probes = cut.probes().len();
                print(&format!(
                    "ok      {}: {probes} probes within {difference:.0e}\n",
                    path.display()
                ))?;
            }
            Err(e) => {
                failed += 1;
                let path = path.display().to_string();
                let message = e.message();
                let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(message);
                print(&format!("FAILED  {path}: {message}\n"))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => {
            let message = format!("{n} of {} cuts do not work here", args.cuts.len());
            Err(Error::new(ErrorKind::Cut, message))
        }
    }
}

fn of_base(base: &Base) -> Vec<(&'static str, String)> {
    let config = base.config();
    vec![
        ("base", base.name.clone()),
        (
            "  layers",
            format!(
                "{} of {} wide, texts of up to {} tokens",
                config.layers, config.hidden, config.positions
            ),
        ),
        ("  fingerprint", base.fingerprint.to_string()),
        ("  tokenizer", base.tokenizer.fingerprint().to_string()),
    ]
}

/// Instructions that kernels choose among at run time.
fn instructions() -> String {
    let mut found: Vec<&str> = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("AVX2 and FMA", is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")),
            ("AVX-VNNI", is_x86_feature_detected!("avxvnni")),
            ("AVX-512", is_x86_feature_detected!("avx512f")),
            ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
        ];
        found.extend(all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name));
    }
    found.join(", ")
}

/// Bytes of memory of this machine, and of those that are free, where the system says.
fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((of("MemTotal:")?, of("MemAvailable:")?))
}

/// The bound that the control group of this process sets, in bytes, if it sets one.
fn memory_limit() -> Option<u64> {
    let of = |path| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    // Version 2 and version 1, as a container sees its own.
    of("/sys/fs/cgroup/memory.max").or_else(|| of("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
}
