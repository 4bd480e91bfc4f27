#!/usr/bin/env bash
# Builds the real programs that the tests run against, once per version, into the user's cache folder:
# etcd, Kubernetes (API server, controller manager, kubectl; with NODE=1 scheduler, kubelet, kube-proxy),
# versitygw, and with MINIO=1 a MinIO server; with BENCH=1 the other tools of `make bench`: rclone, restic, kopia and
# rustic (the last with cargo, some ten minutes). Needs Go and its module proxy; writes nothing elsewhere.
set -euo pipefail

KUBERNETES=1.34.4
ETCD=3.6.5
VERSITYGW=1.8.0
# Its releases have no module version, so a commit stands for one.
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
RESTIC=0.19.1
KOPIA=0.23.1
RUSTIC=0.11.4
RCLONE=1.76.0
CACHE=${LIFEBOAT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat/peers}
mkdir -p "$CACHE"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-peers.XXXXXX")
trap 'chmod -R u+w "$WORK"; rm -rf "$WORK"' EXIT
export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local

command -v go >/dev/null || { echo "peers: Go is needed (https://go.dev/dl or Debian's golang)" >&2; exit 1; }

# One builder at a time, so that two test runs do not build the same thing twice.
exec 9>"$CACHE/.lock"
flock 9

# install_as DIR: moves the finished folder into place; a killed build leaves nothing half-made.
install_as() { rm -rf "$CACHE/$1.new"; mv "$WORK/out" "$CACHE/$1.new"; rm -rf "${CACHE:?}/$1"; mv "$CACHE/$1.new" "$CACHE/$1"; }

# kubernetes_module: a throw-away main module that pins every staging module to the release.
kubernetes_module() {
  mkdir -p "$WORK/k8s"; cd "$WORK/k8s"
  cat > tools.go <<'GO'
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
GO
  local dir staging="v0.${KUBERNETES#1.}"
  dir=$(cd / && go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  {
    echo 'module peers'; echo 'go 1.24.0'
    echo "require k8s.io/kubernetes v$KUBERNETES"
    grep -oE '^[[:space:]]+k8s\.io/[a-z0-9-]+ v0\.0\.0$' "$dir/go.mod" | while read -r module _; do
      echo "require $module $staging"
      echo "replace $module => $module $staging"
    done
  } > go.mod
  go mod tidy
}

build_kubernetes() { # NAME PROGRAM...
  local name=$1; shift
  [ -x "$CACHE/$name/$1" ] && return 0
  echo "peers: building $name ($*), some minutes the first time"
  [ -f "$WORK/k8s/go.sum" ] || (kubernetes_module)
  mkdir -p "$WORK/out"
  local version=k8s.io/component-base/version
  for program in "$@"; do
    (cd "$WORK/k8s" && go build -o "$WORK/out/$program" \
      -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=34 -X $version.gitTreeState=clean" \
      "k8s.io/kubernetes/cmd/$program")
  done
  install_as "$name"
}

build_etcd() {
  [ -x "$CACHE/etcd-$ETCD/etcd" ] && return 0
  echo "peers: building etcd $ETCD"
  mkdir -p "$WORK/etcd" "$WORK/out"; cd "$WORK/etcd"
  printf 'module peers\ngo 1.24.0\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$ETCD" > go.mod
  printf 'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n' > main.go
  go mod tidy
  go build -ldflags '-s -w' -o "$WORK/out/etcd" .
  install_as "etcd-$ETCD"
}

build_go() { # NAME PACKAGE@VERSION PROGRAM
  [ -x "$CACHE/$1/$3" ] && return 0
  echo "peers: building $1"
  mkdir -p "$WORK/out"
  (cd / && GOBIN="$WORK/out" GOFLAGS= go install -ldflags '-s -w' "$2")
  install_as "$1"
}

# build_main NAME MODULE VERSION PACKAGE PROGRAM: through a throw-away main module, for a release whose module has
# replacements of its own or no list of versions.
build_main() {
  [ -x "$CACHE/$1/$5" ] && return 0
  echo "peers: building $1"
  mkdir -p "$WORK/$5" "$WORK/out"
  printf 'module peers\ngo 1.25.0\nrequire %s v%s\n' "$2" "$3" > "$WORK/$5/go.mod"
  (cd "$WORK/$5" && go build -ldflags '-s -w' -o "$WORK/out/$5" "$4")
  install_as "$1"
}

build_rustic() {
  [ -x "$CACHE/rustic-$RUSTIC/rustic" ] && return 0
  echo "peers: building rustic $RUSTIC, some ten minutes"
  CARGO_TARGET_DIR="$WORK/rustic" cargo install --quiet --locked --no-track --root "$WORK/rustic-root" \
    --version "$RUSTIC" rustic-rs
  mkdir -p "$WORK/out"
  mv "$WORK/rustic-root/bin/rustic" "$WORK/out/rustic"
  install_as "rustic-$RUSTIC"
}

# rclone with the two back ends that the benchmark needs: all of them take some ten minutes more.
build_rclone() {
  [ -x "$CACHE/rclone-$RCLONE/rclone" ] && return 0
  echo "peers: building rclone $RCLONE"
  mkdir -p "$WORK/rclone" "$WORK/out"; cd "$WORK/rclone"
  printf 'module peers\ngo 1.25.0\nrequire github.com/rclone/rclone v%s\n' "$RCLONE" > go.mod
  cat > main.go <<'GO'
package main

import (
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/copy"
	_ "github.com/rclone/rclone/cmd/version"
)

func main() { cmd.Main() }
GO
  go mod tidy
  go build -ldflags '-s -w' -o "$WORK/out/rclone" .
  install_as "rclone-$RCLONE"
}

build_bench() {
  build_rclone
  build_main "restic-$RESTIC" github.com/restic/restic "$RESTIC" github.com/restic/restic/cmd/restic restic
  build_main "kopia-$KOPIA" github.com/kopia/kopia "$KOPIA" github.com/kopia/kopia kopia
  # Without it the benchmark leaves its column out.
  build_rustic || echo "peers: rustic could not be built; the benchmark goes on without it" >&2
}

build_go "versitygw-$VERSITYGW" "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW" versitygw
build_etcd
build_kubernetes "kubernetes-$KUBERNETES" kube-apiserver kube-controller-manager kubectl
[ -z "${NODE:-}" ] || build_kubernetes "kubernetes-node-$KUBERNETES" kube-scheduler kubelet kube-proxy
[ -z "${MINIO:-}" ] || build_go "minio-$MINIO_VERSION" "github.com/minio/minio@$MINIO_VERSION" minio
[ -z "${BENCH:-}" ] || build_bench

# The one place that says where each program is; the harness reads it.
{
  echo "etcd=$CACHE/etcd-$ETCD/etcd"
  for p in kube-apiserver kube-controller-manager kubectl; do echo "$p=$CACHE/kubernetes-$KUBERNETES/$p"; done
  for p in kube-scheduler kubelet kube-proxy; do
    [ ! -x "$CACHE/kubernetes-node-$KUBERNETES/$p" ] || echo "$p=$CACHE/kubernetes-node-$KUBERNETES/$p"; done
  echo "versitygw=$CACHE/versitygw-$VERSITYGW/versitygw"
  [ ! -x "$CACHE/minio-$MINIO_VERSION/minio" ] || echo "minio=$CACHE/minio-$MINIO_VERSION/minio"
  for p in "rclone-$RCLONE/rclone" "restic-$RESTIC/restic" "kopia-$KOPIA/kopia" "rustic-$RUSTIC/rustic"; do
    [ ! -x "$CACHE/$p" ] || echo "${p##*/}=$CACHE/$p"; done
} > "$CACHE/programs.new"
mv "$CACHE/programs.new" "$CACHE/programs"
echo "peers: ready in the cache folder"
