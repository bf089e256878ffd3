"""Does linocut make Transformers' tokens of a folder, whatever files it has?

    pip install -r reference/requirements.txt
    cargo build --release -p linocut --example tokens
    python reference/check_tokenizers.py target/release/examples/tokens [TEXTS ...] > reference/results/tokenizers.md

Of every kind a tokenizer is learned on the bundled data and saved in the files that folders of its
families have: tokenizer.json, or vocab.txt, or vocab.json and merges.txt; with settings beside them that
agree or do not. Ids and token types of 200 texts, 200 pairs and made-up texts are compared with those of
AutoTokenizer. TEXTS are further TSV files, whose first 200 first columns are compared too; and of folders that
must be refused, the message is shown. Prints a table; exits 1 if a token differs.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import transformers
from tokenizers import ByteLevelBPETokenizer, BertWordPieceTokenizer, SentencePieceUnigramTokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

ROWS = 200
MADE_UP = [
    "Ünïcödé, ÅNGSTRÖM and naïve café — 漢字 かな 한국어 🙂🙂",
    "[CLS] special [SEP] tokens [MASK] in [PAD] text [UNK]",
    "<s> special </s> tokens <mask> in  <pad> text<unk> <S> <MASK>",
    "tabs\tand\nline breaks\r\nand\u00a0spaces\u200b  two   three ",
    " a space before",
    "``quoted'' \u201cwords\u201d, ½ ﬁne ＡＢＣ e\u0301",
    "x" * 150,
    "Library games developer EXTRA, extra; game-library",
]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def token(text, **flags):
    return dict(dict(content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True), **flags)


class Made:
    """The vocabularies, learned once."""

    def __init__(self, texts, tokens=1500):
        word_piece = BertWordPieceTokenizer(lowercase=False)
        word_piece.train_from_iterator(texts, vocab_size=tokens, show_progress=False)
        self.words = sorted(word_piece.get_vocab().items(), key=lambda item: item[1])
        self.words = [word for word, _ in self.words]
        self.words += [word for word in ["漢", "字", "é", "##é", "cafe", "café", "Library", "EXTRA"] if word not in self.words]
        # MPNet's own special tokens about BERT's words.
        self.mpnet = ["<s>", "<pad>", "</s>", "<unk>"] + self.words + ["<mask>"]
        self.bytes = ByteLevelBPETokenizer()
        self.bytes.train_from_iterator(texts, vocab_size=max(300, tokens * 3 // 5), special_tokens=ROBERTA, show_progress=False)
        self.modern = ByteLevelBPETokenizer()
        self.modern.train_from_iterator(texts, vocab_size=max(300, tokens * 3 // 5), special_tokens=BERT, show_progress=False)
        self.pieces = {}
        for unknown, special in (("<unk>", ROBERTA), ("[UNK]", BERT), ("<unk>", ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])):
            pieces = SentencePieceUnigramTokenizer()
            pieces.train_from_iterator(texts, vocab_size=max(300, tokens * 3 // 5), special_tokens=special, unk_token=unknown, show_progress=False)
            self.pieces[special[-1] + unknown] = [tuple(piece) for piece in json.loads(pieces.to_str())["model"]["vocab"]]


def write(folder, **files):
    for name, content in files.items():
        name = {"config": "config.json", "settings": "tokenizer_config.json", "special": "special_tokens_map.json",
                "added": "added_tokens.json", "main": "tokenizer.json", "words": "vocab.txt", "vocab": "vocab.json",
                "merges": "merges.txt", "spiece": "spiece.model"}[name]
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")


def folders(made):
    """Yields what to call a folder and a function that fills it."""
    words, mpnet = "\n".join(made.words), "\n".join(made.mpnet) + "\n"

    def config(model_type):
        return {"model_type": model_type}

    # vocab.txt
    for family in ("bert", "distilbert", "electra", "nomic_bert"):
        yield f"{family}: vocab.txt", lambda f, t=family: write(f, config=config(t), words=words)
    yield "mpnet: vocab.txt", lambda f: write(f, config=config("mpnet"), words=mpnet)
    lists = {"mask_token": token("[MASK]", lstrip=True), "additional_special_tokens": ["games"]}
    for name, settings, more in (
        ("do_lower_case false", {"do_lower_case": False}, {}),
        ("strip_accents false", {"strip_accents": False}, {}),
        ("accents go, capitals stay", {"strip_accents": True, "do_lower_case": False}, {}),
        ("tokenize_chinese_chars false", {"tokenize_chinese_chars": False}, {}),
        ("do_basic_tokenize false, never_split", {"do_basic_tokenize": False, "never_split": ["games"]}, {}),
        ("DistilBertTokenizer", {"tokenizer_class": "DistilBertTokenizer"}, {}),
        ("ElectraTokenizerFast", {"tokenizer_class": "ElectraTokenizerFast"}, {}),
        ("model_input_names without types", {"model_input_names": ["input_ids", "attention_mask"]}, {}),
        ("added_tokens.json", {}, {"added": {"library": 20, "newword": len(made.words)}}),
        ("special_tokens_map.json", {"mask_token": "[PAD]"}, {"special": lists}),
        ("added_tokens_decoder", {"added_tokens_decoder": {"7": token("games", normalized=True, special=False), "3": token("[SEP]", lstrip=True)}}, {"special": lists}),
        ("a token of its own name", {"image_token": "games"}, {}),
        ("other special tokens", {"cls_token": "[PAD]", "sep_token": "[MASK]", "unk_token": "[SEP]"}, {}),
    ):
        yield f"bert: vocab.txt, {name}", lambda f, s=settings, m=more: write(f, config=config("bert"), words=words, settings=s, **m)
    yield "mpnet: vocab.txt, MPNetTokenizerFast, capitals", lambda f: write(
        f, config=config("mpnet"), words=mpnet, settings={"tokenizer_class": "MPNetTokenizerFast", "do_lower_case": False})
    yield "bert: vocab.txt, lines end in \\r\\n, one ends in spaces", lambda f: write(
        f, config=config("bert"), words=words.replace("\nCafe", "\nCafe  ").replace("\n", "\r\n"))

    # vocab.json and merges.txt
    def bpe(f, settings=None, special=None, model_type="roberta"):
        made.bytes.save_model(str(f))
        write(f, config=config(model_type), **({"settings": settings} if settings else {}), **({"special": special} if special else {}))

    yield "roberta: vocab.json", bpe
    yield "roberta: vocab.json, add_prefix_space", lambda f: bpe(f, {"add_prefix_space": True})
    yield "roberta: vocab.json, trim_offsets false", lambda f: bpe(f, {"trim_offsets": False, "tokenizer_class": "RobertaTokenizerFast"})
    yield "roberta: vocab.json, special_tokens_map.json", lambda f: bpe(f, None, {"mask_token": token("<mask>", lstrip=True)})
    yield "bert: vocab.json, RobertaTokenizer", lambda f: bpe(f, {"tokenizer_class": "RobertaTokenizer"}, None, "bert")

    # tokenizer.json, as Transformers saves it
    def saved(f, model_type, tokenizer, change=None, **settings):
        tokenizer.save_pretrained(f)
        write(f, config=config(model_type))
        stated = json.loads((f / "tokenizer_config.json").read_text())
        stated.update(settings)
        write(f, settings={k: v for k, v in stated.items() if v != "absent"})
        if change:
            main = json.loads((f / "tokenizer.json").read_text())
            change(main)
            write(f, main=main)

    numbered = {word: i for i, word in enumerate(made.words)}
    bert = lambda **k: transformers.BertTokenizer(vocab=dict(numbered), **k)
    roberta = lambda **k: transformers.RobertaTokenizer(
        vocab=json.loads(made.bytes.to_str())["model"]["vocab"], merges=[tuple(m) for m in json.loads(made.bytes.to_str())["model"]["merges"]], **k)
    pieces = made.pieces
    own = {
        "bert": bert,
        "distilbert": bert,
        "electra": bert,
        "nomic_bert": bert,
        "mpnet": lambda **k: transformers.MPNetTokenizer(vocab={w: i for i, w in enumerate(made.mpnet)}, **k),
        "roberta": roberta,
        "xlm-roberta": lambda **k: transformers.XLMRobertaTokenizer(vocab=pieces["<mask><unk>"], **k),
        "camembert": lambda **k: transformers.CamembertTokenizer(vocab=pieces["<mask><unk>"], additional_special_tokens=["<s>"], **k),
        "albert": lambda **k: transformers.AlbertTokenizer(vocab=pieces["[MASK]<unk>"], **k),
        "deberta-v2": lambda **k: transformers.DebertaV2Tokenizer(vocab=pieces["[MASK][UNK]"], **k),
    }
    for family, make in own.items():
        yield f"{family}: tokenizer.json", lambda f, t=family, m=make: saved(f, t, m())
    yield "albert: tokenizer.json, capitals, accents", lambda f: saved(f, "albert", own["albert"](do_lower_case=False, keep_accents=True))
    yield "albert: tokenizer.json, settings changed after", lambda f: saved(f, "albert", own["albert"](), do_lower_case=False)
    yield "albert: tokenizer.json, types asked for", lambda f: saved(f, "albert", own["albert"](), model_input_names=["input_ids", "token_type_ids"])
    yield "deberta-v2: tokenizer.json, lower, points split", lambda f: saved(f, "deberta-v2", own["deberta-v2"](do_lower_case=True, split_by_punct=True))
    yield "deberta-v2: tokenizer.json, settings changed after", lambda f: saved(f, "deberta-v2", own["deberta-v2"](), add_prefix_space=False)
    yield "xlm-roberta: tokenizer.json, no space before", lambda f: saved(f, "xlm-roberta", own["xlm-roberta"](), add_prefix_space=False)

    def modern(f, **settings):
        main = json.loads(made.modern.to_str())
        tok = Tokenizer.from_str(json.dumps(main))
        ends = [(t, tok.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
        tok.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends)
        write(f, config=config("modernbert"), main=tok.to_str(), settings=settings)

    yield "modernbert: tokenizer.json", lambda f: modern(f, tokenizer_class="PreTrainedTokenizerFast", mask_token=dict(token("[MASK]", lstrip=True), __type="AddedToken"))
    yield "modernbert: tokenizer.json, a class named", lambda f: modern(f, tokenizer_class="BertTokenizer", do_lower_case=False)
    yield "modernbert: tokenizer.json, no settings", lambda f: modern(f)

    # tokenizer.json and what stands beside it disagree
    generic = dict(tokenizer_class="PreTrainedTokenizerFast")

    def lower(main):
        main["normalizer"]["lowercase"] = False

    def bare(main):
        main["normalizer"], main["pre_tokenizer"] = None, {"type": "Whitespace"}

    def ends(main):
        main["post_processor"] = {"type": "BertProcessing", "sep": ["[MASK]", 4], "cls": ["[PAD]", 0]}

    def short(main):
        main["model"]["max_input_chars_per_word"], main["model"]["unk_token"] = 4, "[MASK]"

    def fewer(main):
        main["added_tokens"] = main["added_tokens"][:1]

    def more(main):
        main["added_tokens"].append(dict(token("games", normalized=True, special=False), id=numbered["games"]))

    def flags(main):
        main["added_tokens"][4]["lstrip"] = True

    gone = dict(added_tokens_decoder="absent", do_lower_case="absent", strip_accents="absent", tokenize_chinese_chars="absent")
    changes = [("lowercase false", lower), ("no normalizer", bare), ("other ends", ends), ("short words", short),
               ("fewer added tokens", fewer), ("more added tokens", more), ("space of [MASK]", flags)]
    for name, change in changes:
        yield f"bert: tokenizer.json, {name}", lambda f, c=change: saved(f, "bert", bert(), c, **gone)
        yield f"bert: tokenizer.json, {name}, added_tokens_decoder", lambda f, c=change: saved(f, "bert", bert(), c)
        yield f"bert: tokenizer.json, {name}, generic class", lambda f, c=change: saved(f, "bert", bert(), c, **gone, **generic)
    yield "bert: tokenizer.json, generic class, decoder", lambda f: saved(f, "bert", bert(), fewer, **generic)
    yield "bert: tokenizer.json, generic class, types asked for", lambda f: saved(f, "bert", bert(), **generic, model_input_names=["input_ids", "token_type_ids"])
    yield "bert: tokenizer.json, an unknown class", lambda f: saved(f, "bert", bert(), bare, tokenizer_class="NoSuchTokenizer", model_input_names=["input_ids"])
    yield "bert: tokenizer.json, XLMRobertaTokenizer", lambda f: saved(f, "bert", own["xlm-roberta"]())
    yield "distilbert: tokenizer.json, DistilBertTokenizerFast", lambda f: saved(f, "distilbert", bert(), tokenizer_class="DistilBertTokenizerFast")
    yield "roberta: tokenizer.json, add_prefix_space after", lambda f: saved(f, "roberta", roberta(), add_prefix_space=True)
    yield "roberta: tokenizer.json, no settings", lambda f: (saved(f, "roberta", roberta()), (f / "tokenizer_config.json").unlink())
    yield "bert: tokenizer.json, no settings", lambda f: (saved(f, "bert", bert(do_lower_case=False)), (f / "tokenizer_config.json").unlink())
    yield "bert: tokenizer.json, added_tokens.json", lambda f: (saved(f, "bert", bert(), **gone), write(f, added={"library": 20}))


def refused(made):
    words = "\n".join(made.words)
    bert, roberta = {"model_type": "bert"}, {"model_type": "roberta"}
    yield "a SentencePiece file alone", lambda f: write(f, config={"model_type": "albert"}, spiece="")
    yield "vocab.txt of RoBERTa", lambda f: write(f, config=roberta, words=words)
    yield "vocab.txt of the generic class", lambda f: write(f, config=bert, words=words, settings={"tokenizer_class": "PreTrainedTokenizerFast"})
    yield "vocab.json without merges.txt", lambda f: write(f, config=roberta, vocab={"<s>": 0})
    yield "a token twice", lambda f: write(f, config=bert, words=words + "\n[CLS]")
    yield "no [SEP]", lambda f: write(f, config=bert, words=words.replace("[SEP]\n", ""))


def main():
    linocut = Path(sys.argv[1]).resolve()
    transformers.logging.set_verbosity_error()
    with open("data/debian/dev.tsv", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    more = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            more += [line.split("\t")[0] for line in list(file)[1 : ROWS + 1]]
    more = [text for text in more if text.strip()]
    made = Made(texts)
    rows = [[text] for text in texts[:ROWS]] + [list(pair) for pair in zip(texts[:ROWS], texts[ROWS : 2 * ROWS])]
    rows += [[text] for text in MADE_UP + more] + [list(pair) for pair in zip(MADE_UP + more, MADE_UP[1:] + more)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    failed, count = [], 0
    print("# Tokens of folders\n")
    print(f"transformers {transformers.__version__}; {ROWS} texts, {ROWS} pairs and {len(rows) - 2 * ROWS} others of each folder.\n")
    print("| folder | read by | types of a pair | texts that differ |")
    print("|---|---|---|--:|")
    for name, fill in folders(made):
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            fill(place)
            tok = AutoTokenizer.from_pretrained(place)
            done = subprocess.run([linocut, place], input=lines, capture_output=True, text=True)
            if done.returncode:
                failed.append(f"{name}: {done.stderr.strip()}")
                print(f"| {name} | {type(tok).__name__} | | refused |", flush=True)
                continue
            differ, first = 0, None
            for row, line in zip(rows, done.stdout.splitlines(), strict=True):
                expected = tok(*row)
                expected = [expected["input_ids"], expected.get("token_type_ids", [0] * len(expected["input_ids"]))]
                if json.loads(line) != expected:
                    differ += 1
                    first = first or f"{row}: {line}, expected {expected}"
            typed = any(tok("a", "b").get("token_type_ids", []))
            print(f"| {name} | {type(tok).__name__} | {'0 and 1' if typed else '0'} | {differ} |", flush=True)
            count += 1
            if differ:
                failed.append(f"{name}: {first}")
    print("\nRefused:\n")
    for name, fill in refused(made):
        with tempfile.TemporaryDirectory() as place:
            fill(Path(place))
            done = subprocess.run([linocut, place], input=lines, capture_output=True, text=True)
            said = done.stderr.strip().replace(place, "DIR").replace("\n", " ")
            print(f"- {name}: {said}")
            if done.returncode == 0 or "panic" in done.stderr:
                failed.append(f"{name} was not refused")
    print("\n" + ("\n".join(failed) or f"All {count} agree, every token and type."))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
