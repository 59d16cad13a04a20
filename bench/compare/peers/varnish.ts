/** Varnish with malloc storage. It speaks no TLS itself, and logs to shared memory, never to a file, here. */
import { PEER_PROGRAMS } from "../packages.ts";
import { type Peer, startPeer } from "./peer.ts";

/** Varnish. */
export const varnish: Peer = {
  name: "varnish",
  needs: PEER_PROGRAMS.varnish,
  caches: true,
  protocols: ["h1"],
  tuning: "malloc storage, one thread pool of 1,000 threads, no varnishncsa",
  start(stage, options) {
    return startPeer(this, stage, options, (place) => {
      const vcl = `
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "${stage.originPort}"; .max_connections = 1024; }
`;
      const argv = [
        ...["varnishd", "-F", "-j", "none", "-n", place.folder],
        ...["-a", `127.0.0.1:${place.httpPort}`, "-T", "none"],
        ...["-f", place.write("default.vcl", vcl)],
        ...["-s", `malloc,${options.cacheBytes}`],
        ...["-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=1000"],
        ...["-p", "timeout_idle=600", "-p", "listen_depth=4096"],
      ];
      return { argv };
    });
  },
};
