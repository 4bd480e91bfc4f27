#!/usr/bin/env bash
# The main job from end to end: the agent is installed into a cluster with an application, as an image on a real node, and
# backs it up to an S3 server; the replicator pulls the snapshot, then the cluster and the S3 server are destroyed and a
# new cluster is restored from the vault, volumes first. Every object is compared, and every row of a database that was
# written all the time. Ends non-zero if anything differs that should not.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "demo: a node needs root (namespaces, mounts): run it as root" >&2; exit 1; }
  echo "demo: a node needs root (namespaces, mounts), so this goes on with sudo"
  exec sudo --preserve-env=PATH,HOME,CARGO_TARGET_DIR,XDG_CACHE_HOME,LIFEBOAT_PEERS,TMPDIR "$PWD/tests/demo.sh"
fi
BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug
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

# volume NAME: a folder of this machine as a local volume of the node of the cluster in $CONFIG
volume() {
  mkdir -p "$WORK/volumes/$1"
  kubectl apply -f - <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1}
spec:
  capacity: {storage: 100Mi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: $WORK/volumes/$1}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node1]}]}]}}
YAML
}
counter() { kubectl -n counter exec deployment/counter -c redis -- sh -c "$1"; }

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

step "Loading a database that is written all the time, on a volume; hooks make it stand still while it is read"
"$BIN/lifeboat-harness" redis "$WORK/redis.tar"
"$BIN/lifeboat-harness" load --name "$ID-1" "$WORK/redis.tar"
volume before
kubectl apply -f "$HERE/database.yaml" | tail -1
kubectl -n counter rollout status deployment/counter --timeout=60s

step "lifeboat init, then lifeboat install: the controller and a daily schedule"
# The agent and the replicator have credentials of their own in real life; here one user plays all parts.
"$BIN/lifeboat" init --repo "$REPO" --cluster demo --vault "file://$WORK/vault" --out "$WORK/admin" --unprotected \
  --agent-credentials "$CREDENTIALS" "${S3[@]}"
sed -i "/^\[source\.s3\]/a credentials_file = \"$CREDENTIALS\"" "$WORK/admin/replicator.toml"
"$BIN/lifeboat" install --config "$WORK/admin" --kubeconfig "$OLD" --hooks counter
kubectl -n lifeboat get pods,backupschedules
python3 "$HERE/compare.py" dump "$KUBECTL" "$OLD" "$WORK/before.json"

step "A backup from that schedule, now"
"$BIN/lifeboat" backup now --from-schedule daily --kubeconfig "$OLD" --wait --timeout 90s
kubectl -n lifeboat get backups
ROWS=$(counter "cat /data/rows-at-the-hook")
echo "The database had $ROWS rows when its hook ran, and has $(counter "redis-cli LLEN rows") now: it was thawed and is written on."

step "lifeboat-replicator pull"
mkdir -p "$WORK/vault"
"$BIN/lifeboat-replicator" pull --config "$WORK/admin/replicator.toml" --once
"$BIN/lifeboat-replicator" status --config "$WORK/admin/replicator.toml"

step "Disaster: the cluster and the primary are destroyed"
"$BIN/lifeboat-harness" s3 down --name "$ID"
"$BIN/lifeboat-harness" down --name "$ID-1"

step "A new cluster, restored from the vault with the administrator's identity"
"$BIN/lifeboat-harness" up --node --name "$ID-2" | tee "$WORK/cluster-2"
NEW=$(value KUBECONFIG "$WORK/cluster-2")
"$BIN/lifeboat-harness" load --name "$ID-2" "$WORK/lifeboat-agent.oci.tar"
"$BIN/lifeboat-harness" load --name "$ID-2" "$WORK/redis.tar"
CONFIG=$NEW
volume after
VAULT=(--repo "file://$WORK/vault" --identity "$WORK/admin/identity.txt")
"$BIN/lifeboat" verify "${VAULT[@]}"
RESTORED=$SECONDS
"$BIN/lifeboat" restore latest "${VAULT[@]}" --kubeconfig "$NEW" --yes
echo "restored in $((SECONDS - RESTORED)) s"

step "Comparing every object before and after"
sleep 2
python3 "$HERE/compare.py" dump "$KUBECTL" "$NEW" "$WORK/after.json"
python3 "$HERE/compare.py" compare "$WORK/before.json" "$WORK/after.json"

step "The database has every row from before the hook, and its Pod found all of them when it started"
kubectl -n counter rollout status deployment/counter --timeout=60s
until BEGAN=$(kubectl -n counter logs deployment/counter -c writer | grep "began with"); do sleep 0.5; done
echo "rows at the hook: $ROWS; the restored database $BEGAN"
[ "$BEGAN" = "began with $ROWS rows" ]
counter "redis-cli LRANGE rows 0 $((ROWS - 1))" | awk '$1 != NR { print "row " NR " is " $1; exit 1 } END { print NR " rows, each as it was" }'

step "Nothing is garbage-collected, and namespaces work as before"
kubectl create namespace afterwards && kubectl delete namespace afterwards --timeout=60s
kubectl -n ledger get configmap owned-by-viking -o name
printf '\nThe cluster came back whole, %s s after the start.\n' $((SECONDS - START))
