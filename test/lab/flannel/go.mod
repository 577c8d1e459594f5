// Module flannel names the flanneld that "make flannel" tries our nodes beside.
// It has no packages: flanneld is built in a copy of its module, without two
// backends; see fetch.Flannel.
module github.com/magpie-edge/magpie/test/lab/flannel

go 1.26.0

require github.com/flannel-io/flannel v0.28.4
