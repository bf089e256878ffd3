//! Options that are out of range or contradict each other, and every command's help.

use super::place::Place;
use insta::assert_snapshot;

#[test]
fn options() {
    let place = Place::trained();
    let train = "train --base base --task topics --out t.cut";
    assert_snapshot!(place.run(&format!("{train} --layers 9")), @"
    exit 2
    --- stderr
    error: --layers 9: `9` is not within the base's 3 layers
    hint: layers of this base are 0 to 2; -2 means the last two
    ");
    assert_snapshot!(place.run(&format!("{train} --only foo")), @"
    exit 2
    --- stderr
    error: --only foo: neither a kind of tensor nor a pattern that matches one
    hint: kinds: embeddings, projection, query, key, value, query-key-value, attention-output, intermediate, output, layernorm, bias, pooler; or a pattern such as '*.output.dense.*'
    ");
    assert_snapshot!(place.run(&format!("{train} --method full --mask-lr 1")), @"
    exit 2
    --- stderr
    error: --mask-lr has no meaning for --method full
    hint: it belongs to --method mask
    ");
    assert_snapshot!(place.run(&format!("{train} --lr 1e-3")), @"
    exit 2
    --- stderr
    error: --lr has no meaning for --method mask
    hint: use --mask-lr or --head-lr
    ");
    assert_snapshot!(place.run(&format!("{train} --sparsity 1")), @"
    exit 2
    --- stderr
    error: --sparsity is 1, expected a share between 0 and 1
    ");
    assert_snapshot!(place.run(&format!("{train} --sparsity -0.1")), @"
    exit 2
    --- stderr
    error: --sparsity is -0.1, expected a share between 0 and 1
    ");
    assert_snapshot!(place.run(&format!("{train} --epochs -1")), @"
    exit 2
    --- stderr
    error: invalid value '-1' for '--epochs <EPOCHS>': expected a whole number, 0 or more

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{train} --warmup 0,1")), @"
    exit 2
    --- stderr
    error: invalid value '0,1' for '--warmup <SHARE>': expected a number, such as 0.1

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{train} --sparsity 0.1 --init-sparsity 0.1")), @"
    exit 2
    --- stderr
    error: the argument '--sparsity <SHARE>' cannot be used with '--init-sparsity <SHARE>'

    Usage: linocut train --base <DIR|NAME> --out <FILE> --sparsity <SHARE> <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{train} --method head --sparsity 0.1")), @"
    exit 2
    --- stderr
    error: --sparsity has no meaning for --method head
    hint: it belongs to --method mask
    ");
    assert_snapshot!(place.run(&format!("{train} --method lora --rank 37 -q")), @"
    exit 2
    --- stderr
    error: --rank is 37, expected 1 to 36, the narrowest matrix
    ");
    assert_snapshot!(place.run(&format!("{train} --rank 4")), @"
    exit 2
    --- stderr
    error: --rank has no meaning for --method mask
    hint: it belongs to --method lora
    ");
    assert_snapshot!(place.run(&format!("{train} --max-length 41")), @"
    exit 2
    --- stderr
    error: --max-length is 41 tokens, expected 4 to 40 on this base
    ");
    assert_snapshot!(place.run(&format!("{train} --epochs 0")), @"
    exit 2
    --- stderr
    error: --epochs is 0, expected 1 to 1000000
    ");
    assert_snapshot!(place.run(&format!("{train} --threads 0")), @"
    exit 2
    --- stderr
    error: --threads is 0, expected 1 to 1024
    ");
    assert_snapshot!(place.run("train --base base --out t.cut"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--task <DIR>|--train <FILE>>

    Usage: linocut train --base <DIR|NAME> --out <FILE> <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("eval topics.cut --base base"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--task <DIR>|--data <FILE>>

    Usage: linocut eval --base <DIR|NAME> <--task <DIR>|--data <FILE>> <CUT>

    For more information, try '--help'.
    ");
    assert_eq!(place.names(), ["base", "topics", "topics.cut"]);
}

/// What a terminal would obey reaches it escaped, also in the words of the argument parser.
#[test]
fn arguments_are_escaped() {
    let place = Place::new();
    for line in ["train --seed", "--"] {
        let shown = place.run_with(line, &["\u{1b}]0;x\u{7}\u{202e}"], b"");
        assert!(shown.to_string().starts_with("exit 2"), "{shown}");
        assert!(shown.stderr.contains("\\u{202e}"), "{shown}");
        let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.stderr.contains(obeyed), "{shown}");
    }
}

/// Every command's help ends with an example.
#[test]
fn help() {
    let place = Place::new();
    for command in [
        "train",
        "eval",
        "predict",
        "inspect",
        "verify",
        "export",
        "measure",
        "pack",
        "study",
        "plan",
        "serve",
        "push",
        "pull",
        "list",
        "rollback",
        "keygen",
        "doctor",
        "health",
        "completions",
        "man",
    ] {
        let shown = place.run(&format!("{command} --help"));
        assert!(shown.stdout.contains(&format!("linocut {command} ")), "{shown}");
        assert!(shown.stdout.contains("Example") && shown.stderr.is_empty(), "{shown}");
        // What stands there can be pasted from a narrow terminal: a command stays on its line.
        let mut narrow = place.command();
        narrow.args([command, "--help"]).env("COLUMNS", "80");
        let narrow = place.finish(narrow, b"").stdout;
        let examples = |help: &str| {
            let (_, examples) = help.split_once("Example").unwrap();
            let lines = examples.lines().skip(1).filter(|line| !line.is_empty());
            lines.map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(examples(&narrow), examples(&shown.stdout), "{command}");
        let mut goes_on = false;
        for line in examples(&narrow) {
            let begins =
                ["linocut ", "export ", "cut ", "curl ", "python "].map(|word| format!("  {word}"));
            assert!(goes_on || begins.iter().any(|begin| line.starts_with(begin)), "{line}");
            goes_on = line.ends_with('\\');
        }
    }
    assert_snapshot!(place.run("--help"), @r#"
    exit 0
    --- stdout
    One pretrained language model, a thousand tasks: each stored as a small cut of the shared base

    Usage: linocut <COMMAND>

    Commands:
      train        Learn a task as a cut of a base model
      eval         Score a cut on labelled rows
      compare      Tell whether one cut is better than another, on the same labelled rows
      calibrate    Fit how sure a cut is and what it answers, on labelled rows it was not trained on
      predict      Label texts: one given here, those of a file, or the lines of standard input
      inspect      Say what a cut is, what it was trained for and where its bytes go. Needs no base
      verify       Check that cuts are whole, belong to the base, and give the logits they were stored
                   with
      export       Write base and cut together, for Hugging Face Transformers or for an ONNX runtime
      measure      Measure how far fine-tuned models lie from their base, layer by layer
      pack         Store a fine-tuned model or a LoRA adapter as a cut of its base. Needs no training
      study        Compare many ways to train tasks: which layers, how many zeros, how many bytes
      plan         Say how a folder of cuts would be served from one base, and what each costs
      serve        Answer many tasks from one base over HTTP
      push         Put cuts into a store: each is the next version of its task, and in force from then
                   on
      pull         Fetch a task's cut from a store
      list         List the tasks of a store, or the cuts in a folder
      history      Show the versions of a task in a store, the one in force marked
      rollback     Put an earlier version of a task in force again
      remove       Remove a task and all its versions from a store
      gc           Remove cuts from a store that no version of a task names any more
      keygen       Make a pair of keys to sign cuts with: KEY, to be kept secret, and KEY.pub, to be
                   given to servers
      base         Look at bases
      doctor       Say what this machine has and whether the base and cuts work on it
      health       Ask a server whether it is well: exit 0 if so
      completions  Print what completes this command's options in a shell
      man          Write manual pages, one a command
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Every option may be set in the environment: --listen of serve is LINOCUT_SERVE_LISTEN.
    "#);
}
