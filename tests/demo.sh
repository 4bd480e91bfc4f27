#!/usr/bin/env bash
# The main job from end to end: the agent is installed into a cluster with an application, as an image on a real node, and
# backs it up to an S3 server; the replicator pulls the snapshot, then the cluster and the S3 server are destroyed and a
# new cluster is restored from the vault. Every object is compared. Ends non-zero if anything differs that should not.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "demo: a node needs root (namespaces, mounts): run it as root" >&2; exit 1; }
  echo "demo: a node needs root (namespaces, mounts), so this goes on with sudo"
  exec sudo --preserve-env=PATH,HOME,XDG_CACHE_HOME,LIFEBOAT_PEERS,TMPDIR "$PWD/tests/demo.sh"
fi
BIN=$PWD/target/debug
HERE=$PWD/tests/demo
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-demo.XXXXXX")
ID=demo-$$
START=$SECONDS
step() { printf '\n== %s (%s s)\n' "$1" $((SECONDS - START)); }
tidy() {
  "$BIN/lifeboat-harness" s3 down --name "$ID" >/dev/null 2>&1 || true
  "$BIN/lifeboat-harness" down --name "$ID-1" >/dev/null 2>&1 || true
  "$BIN/lifeboat-harness" down --name "$ID-2" >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap tidy EXIT
value() { sed -n "s/^$1=//p" "$2" | tail -1; }

step "Starting a cluster with a node, and an S3 server that its pods reach"
"$BIN/lifeboat-harness" up --node --name "$ID-1" | tee "$WORK/cluster-1"
"$BIN/lifeboat-harness" s3 up --name "$ID" --beside "$ID-1" | tee "$WORK/s3"
KUBECTL=$(value KUBECTL "$WORK/cluster-1")
OLD=$(value KUBECONFIG "$WORK/cluster-1")
export AWS_REGION=us-east-1
REPO=s3://$(value BUCKET "$WORK/s3")/backups
CREDENTIALS=$(value CREDENTIALS "$WORK/s3")
S3=(--s3-endpoint "$(value ENDPOINT "$WORK/s3")" --s3-region us-east-1 --credentials-file "$CREDENTIALS")

step "Making the agent's image (without a registry) and giving it to the node"
"$BIN/lifeboat-image" --binary "$BIN/lifeboat-agent" --out "$WORK/lifeboat-agent.oci.tar"
"$BIN/lifeboat-harness" load --name "$ID-1" "$WORK/lifeboat-agent.oci.tar"

step "Loading an application: many kinds, a CRD with custom resources, Secrets, RBAC, opted-out things"
kubectl() { "$KUBECTL" --kubeconfig "$CONFIG" "$@"; }
CONFIG=$OLD
kubectl apply --server-side -f "$HERE/application.yaml" | tail -1
kubectl wait --for=condition=Established crd/ferries.sea.example.org --timeout=60s
kubectl apply -f "$HERE/custom-resources.yaml"
UID_OF=$(kubectl -n ledger get ferry viking -o jsonpath='{.metadata.uid}')
kubectl create -f - <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned-by-viking
  namespace: ledger
  ownerReferences: [{apiVersion: sea.example.org/v1, kind: Ferry, name: viking, uid: $UID_OF}]
data: {made: by an operator}
YAML

step "lifeboat init, then lifeboat install: the controller and a daily schedule"
# The agent and the replicator have credentials of their own in real life; here one user plays all parts.
"$BIN/lifeboat" init --repo "$REPO" --cluster demo --vault "file://$WORK/vault" --out "$WORK/admin" --unprotected \
  --agent-credentials "$CREDENTIALS" "${S3[@]}"
sed -i "/^\[source\.s3\]/a credentials_file = \"$CREDENTIALS\"" "$WORK/admin/replicator.toml"
"$BIN/lifeboat" install --config "$WORK/admin" --kubeconfig "$OLD"
kubectl -n lifeboat get pods,backupschedules
python3 "$HERE/compare.py" dump "$KUBECTL" "$OLD" "$WORK/before.json"

step "A backup from that schedule, now"
"$BIN/lifeboat" backup now --from-schedule daily --kubeconfig "$OLD" --wait --timeout 90s
kubectl -n lifeboat get backups

step "lifeboat-replicator pull"
mkdir -p "$WORK/vault"
"$BIN/lifeboat-replicator" pull --config "$WORK/admin/replicator.toml" --once
"$BIN/lifeboat-replicator" status --config "$WORK/admin/replicator.toml"

step "Disaster: the cluster and the primary are destroyed"
"$BIN/lifeboat-harness" s3 down --name "$ID"
"$BIN/lifeboat-harness" down --name "$ID-1"

step "A new cluster, restored from the vault with the administrator's identity"
"$BIN/lifeboat-harness" up --name "$ID-2" | tee "$WORK/cluster-2"
NEW=$(value KUBECONFIG "$WORK/cluster-2")
VAULT=(--repo "file://$WORK/vault" --identity "$WORK/admin/identity.txt")
"$BIN/lifeboat" verify "${VAULT[@]}"
RESTORED=$SECONDS
"$BIN/lifeboat" restore latest "${VAULT[@]}" --kubeconfig "$NEW" --yes
echo "restored in $((SECONDS - RESTORED)) s"

step "Comparing every object before and after"
sleep 2
python3 "$HERE/compare.py" dump "$KUBECTL" "$NEW" "$WORK/after.json"
python3 "$HERE/compare.py" compare "$WORK/before.json" "$WORK/after.json"

step "Nothing is garbage-collected, and namespaces work as before"
CONFIG=$NEW
kubectl create namespace afterwards && kubectl delete namespace afterwards --timeout=60s
kubectl -n ledger get configmap owned-by-viking -o name
printf '\nThe cluster came back whole, %s s after the start.\n' $((SECONDS - START))
