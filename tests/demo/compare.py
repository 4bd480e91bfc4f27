#!/usr/bin/env python3
"""Compares two clusters, object by object, as an administrator would: everything that the application set must be
the same, and what is opted out must be gone. Shares no code with Lifeboat.

dump KUBECTL KUBECONFIG FILE      writes every listable object of a cluster
compare BEFORE AFTER [--json]     ends with 1 if anything differs that should not
"""
import json
import subprocess
import sys

SYSTEM = {"kube-system", "kube-public", "kube-node-lease", "lifeboat", "lifeboat-nodes"}
# What a cluster makes again by itself, by resource name.
DERIVED = {
    "events", "events.events.k8s.io", "leases.coordination.k8s.io", "nodes", "csinodes.storage.k8s.io",
    "endpoints", "componentstatuses", "apiservices.apiregistration.k8s.io", "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io", "flowschemas.flowcontrol.apiserver.k8s.io", "controllerrevisions.apps",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", "volumeattachments.storage.k8s.io",
    "persistentvolumes", "certificatesigningrequests.certificates.k8s.io",
}
OPT_OUT = ("compliantkubernetes.io/nobackup", "lifeboat.dev/nobackup")


def dump(kubectl, kubeconfig, path):
    run = lambda *a: subprocess.run([kubectl, "--kubeconfig", kubeconfig, *a], check=True, capture_output=True).stdout
    names = run("api-resources", "--verbs=list", "-o", "name").decode().split()
    objects = {}
    for resource in sorted(set(names) - DERIVED):
        for item in json.loads(run("get", resource, "-A", "-o", "json", "--show-managed-fields"), parse_float=str)["items"]:
            meta = item["metadata"]
            objects[f"{resource} {meta.get('namespace', '-')} {meta['name']}"] = item
    with open(path, "w") as f:
        json.dump(objects, f)
    print(f"{len(objects)} objects")


def opted_out(item, objects):
    labels = item["metadata"].get("labels", {})
    if any(l in labels for l in OPT_OUT) or labels.get("velero.io/exclude-from-backup") == "true":
        return True
    namespace = objects.get(f"namespaces - {item['metadata'].get('namespace')}")
    return bool(namespace) and opted_out(namespace, {})


def made_by_the_cluster(key, item):
    resource, namespace, name = key.split(" ")
    meta = item["metadata"]
    if namespace in SYSTEM or (resource == "namespaces" and name in SYSTEM):
        return True
    if meta.get("labels", {}).get("kubernetes.io/bootstrapping") or name.startswith("system:"):
        return True
    if resource == "priorityclasses.scheduling.k8s.io" and name.startswith("system-"):
        return True
    if resource == "configmaps" and name == "kube-root-ca.crt":
        return True
    if resource in ("services", "endpointslices.discovery.k8s.io") and (namespace, name) == ("default", "kubernetes"):
        return True
    if meta.get("labels", {}).get("endpointslice.kubernetes.io/managed-by") == "endpointslice-controller.k8s.io":
        return True
    controllers = [o["kind"] for o in meta.get("ownerReferences", []) if o.get("controller")]
    return resource in ("pods", "replicasets.apps", "jobs.batch") and bool(controllers)


def essence(item):
    """What the application set; owners by what they are, not by uid."""
    item = json.loads(json.dumps(item))
    meta = item["metadata"]
    chosen_ports = "f:nodePort" in json.dumps(meta.get("managedFields", []))
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"):
        meta.pop(field, None)
    owners = [(o["apiVersion"], o["kind"], o["name"]) for o in meta.pop("ownerReferences", [])]
    item.pop("status", None)
    spec = item.get("spec", {})
    if item["kind"] == "Service" and spec.get("clusterIP") != "None":
        for field in ("clusterIP", "clusterIPs"):
            spec.pop(field, None)
    if item["kind"] == "Service" and not chosen_ports:
        for port in spec.get("ports", []):
            port.pop("nodePort", None)
    if item["kind"] == "PersistentVolumeClaim":
        # Which volume it has got, and where.
        spec.pop("volumeName", None)
        for name in [a for a in meta.get("annotations", {}) if a.split("/")[0] in ("pv.kubernetes.io", "volume.kubernetes.io")]:
            del meta["annotations"][name]
        if meta.get("annotations") == {}:
            del meta["annotations"]
    if item["kind"] == "Deployment":
        meta.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
        if meta.get("annotations") == {}:
            del meta["annotations"]
    return item, sorted(owners)


def compare(before_path, after_path):
    before, after = (json.load(open(p)) for p in (before_path, after_path))
    counts = {"same": 0, "left to the cluster": 0, "opted out": 0}
    problems = []
    for key, item in sorted(before.items()):
        if made_by_the_cluster(key, item):
            counts["left to the cluster"] += 1
        elif opted_out(item, before):
            counts["opted out"] += 1
            if key in after:
                problems.append(f"opted out, and there all the same: {key}")
        elif key not in after:
            problems.append(f"missing: {key}")
        elif essence(item) != essence(after[key]):
            problems.append(f"different: {key}\n  before {essence(item)}\n  after  {essence(after[key])}")
        else:
            counts["same"] += 1
    for key, item in sorted(after.items()):
        if key not in before and not made_by_the_cluster(key, item):
            problems.append(f"new: {key}")
    print(", ".join(f"{n} {what}" for what, n in counts.items()) + f", {len(problems)} problems")
    print("\n".join(problems))
    return 1 if problems or not counts["same"] else 0


if __name__ == "__main__":
    if sys.argv[1] == "dump":
        dump(*sys.argv[2:5])
    else:
        sys.exit(compare(*sys.argv[2:4]))
