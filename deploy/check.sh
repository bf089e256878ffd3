#!/bin/sh
# What can be known of these files without Docker, systemd or Kubernetes: `deploy/check.sh [LINOCUT]`, the binary that
# they start. Needs Python 3; says what it could not check.
set -eu
cd "$(dirname "$0")/.."
linocut=$(realpath "${1:-target/release/linocut}")

python3 - "$linocut" <<'PYTHON'
import json, pathlib, re, subprocess, sys, tempfile

linocut, faults = sys.argv[1], []
def check(good, what):
    if not good:
        faults.append(what)
def read(path):
    return pathlib.Path(path).read_text()
help_text = subprocess.run([linocut, "serve", "--help"], capture_output=True, text=True, check=True).stdout
known = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][a-z0-9-]*)", help_text, re.M))
most_connections = int(re.search(r"--max-connections.*?\[default: (\d+)\]", help_text, re.S).group(1))

# Every option of a server that is written anywhere is one.
places = {"deploy/Dockerfile": re.findall(r"^CMD .*", read("deploy/Dockerfile"), re.M),
          "deploy/linocut.service": re.findall(r"^ExecStart=(?:.*\\\n)*.*", read("deploy/linocut.service"), re.M),
          "deploy/kubernetes.yaml": re.findall(r"^ +- --.*", read("deploy/kubernetes.yaml"), re.M)}
for page in ("docs/deploy.md", "docs/sizing.md"):
    places[page] = re.findall(r"linocut serve .*|`--[a-z-]+[^`]*`", read(page))
for place, found in places.items():
    options = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(found)))
    check(options, f"{place}: no options found")
    others = {"--target", "--build-arg", "--restart", "--tmpfs"}  # of docker
    for option in sorted(options - known - others):
        check(False, f"{place}: {option} is no option of `{linocut} serve`")

# What the builder copies is there, and not kept from it.
ignored = read(".dockerignore").split("\n")
for line in re.findall(r"^COPY (.*)", read("deploy/Dockerfile"), re.M):
    if line.startswith("--from"):
        continue
    for source in line.split()[:-1]:
        source = source.replace("${BASE}", re.search(r"^ARG BASE=(\S+)", read("deploy/Dockerfile"), re.M).group(1))
        there = pathlib.Path(source).exists()
        if not there and source.startswith("models/"):
            print(f"note: {source} is not there; `make base` makes it")
        check(there or source.startswith("models/"), f"deploy/Dockerfile: COPY {source}: there is none")
        check("!" + source.split("/")[0] in ignored, f".dockerignore keeps {source} out")

# Time to stop: --timeout, 2 s for answers to be sent, 1 s each for traces, uploads and the log (serve.rs, serve/mod.rs).
def seconds_to_stop(text):
    given = re.search(r"--timeout[ =]([0-9.]+)", text)
    given = given or re.search(r"--timeout <SECONDS>.*?\[default: ([0-9.]+)\]", help_text, re.S)
    return float(given.group(1)) + 5
unit = read("deploy/linocut.service")
setting = lambda name: re.search(rf"^{name}=(\S+)", unit, re.M).group(1)
check(float(setting("TimeoutStopSec")) > seconds_to_stop(unit), "deploy/linocut.service: TimeoutStopSec is too short")
check(int(setting("LimitNOFILE")) >= most_connections + 64, "deploy/linocut.service: LimitNOFILE is too small")

routes = set(re.findall(r'\.route\("([^"]+)", get', read("crates/linocut-server/src/app.rs")))
try:
    import yaml
except ImportError:
    print("NOT checked: deploy/kubernetes.yaml, for want of PyYAML")
else:
    parts = {part["kind"]: part for part in yaml.safe_load_all(read("deploy/kubernetes.yaml"))}
    deployment = parts["Deployment"]["spec"]
    pod, place = deployment["template"]["spec"], "deploy/kubernetes.yaml: "
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[probe]["httpGet"]
        check(get["path"] in routes, f"{place}{probe} asks {get['path']}, which the server has not")
        check(get["port"] in ports, f"{place}{probe} asks the port {get['port']}")
    args = " ".join(container["args"])
    listened = int(re.search(r"--listen=\S+:(\d+)", args).group(1))
    check(listened in ports.values(), f"{place}listens on {listened}, which is no port of the container")
    check(parts["Service"]["spec"]["ports"][0]["targetPort"] in ports, f"{place}the Service leads nowhere")
    labels = deployment["template"]["metadata"]["labels"]
    for kind in ("Service", "Deployment", "PodDisruptionBudget"):
        selector = parts[kind]["spec"]["selector"]
        check(selector.get("matchLabels", selector) == labels, f"{place}{kind} selects other pods")
    grace = seconds_to_stop(args) + container["lifecycle"]["preStop"]["sleep"]["seconds"]
    check(pod["terminationGracePeriodSeconds"] > grace, f"{place}less than {grace} s to stop")
    volumes = {volume["name"] for volume in pod["volumes"]}
    check({mount["name"] for mount in container["volumeMounts"]} == volumes, f"{place}volumes and mounts differ")
    # As they stand, keys that everybody can read here must start no server.
    keys = parts["Secret"]["stringData"]["keys.json"]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(keys)
        file.flush()
        command = [linocut, "serve", "--base", "none", "--cuts", "none", "--listen", "127.0.0.1:0", "--keys", file.name]
        refused = subprocess.run(command, capture_output=True, text=True)
        entries = json.loads(keys)
        check("16 or more" in refused.stderr, f"{place}the keys written there are taken: {refused.stderr}")
        for entry in entries:
            entry["key"] = "0" * 64 + entry["name"]
        file.seek(0)
        file.write(json.dumps(entries))
        file.truncate()
        file.flush()
        taken = subprocess.run(command, capture_output=True, text=True)
        check(file.name not in taken.stderr, f"{place}the keys' form is refused: {taken.stderr}")

for fault in faults:
    print("FAULT", fault)
sys.exit(bool(faults))
PYTHON

if command -v systemd-analyze > /dev/null; then
    # Where nothing is installed, its binary is the one given here.
    unit=$(mktemp -d)
    trap 'rm -rf "$unit"' EXIT
    sed "s#^ExecStart=/usr/local/bin/linocut#ExecStart=$linocut#" deploy/linocut.service > "$unit/linocut.service"
    systemd-analyze verify "$unit/linocut.service"
else
    echo "NOT checked: deploy/linocut.service by systemd-analyze"
fi
for tool in "hadolint deploy/Dockerfile" "kubernetes-validate --strict deploy/kubernetes.yaml"; do
    if command -v "${tool%% *}" > /dev/null; then
        $tool
    else
        echo "NOT checked: $tool"
    fi
done
echo "deploy: as far as checked, sound"
