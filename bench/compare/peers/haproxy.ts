/** HAProxy's RAM cache, one thread. It forwards ranges it has no part for, and does not collapse. */
import { PEER_PROGRAMS } from "../packages.ts";
import { type Peer, startPeer } from "./peer.ts";

/** Its limit for total-max-size, in MB. */
const CACHE_MB_MAX = 4_095;

/** HAProxy. */
export const haproxy: Peer = {
  name: "haproxy",
  needs: PEER_PROGRAMS.haproxy,
  caches: true,
  protocols: ["h1", "h1-tls", "h2"],
  tuning: "cache in RAM, max-object-size 32 MB, http-reuse always, nbthread 1, no log",
  start(stage, options) {
    return startPeer(this, stage, options, (place) => {
      const megabytes = Math.min(CACHE_MB_MAX, Math.ceil(options.cacheBytes / 2 ** 20));
      const config = `
global
  nbthread ${place.workers}
defaults
  mode http
  no log
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  http-reuse always
cache store
  total-max-size ${megabytes}
  max-object-size ${Math.min(32 * 2 ** 20, Math.floor((megabytes * 2 ** 20) / 2))}
  max-age 86400
frontend viewers
  bind 127.0.0.1:${place.httpPort} backlog 4096
  bind 127.0.0.1:${place.httpsPort} ssl crt ${stage.tls.bundle} alpn h2,http/1.1 backlog 4096
  default_backend origin
backend origin
  http-request cache-use store
  http-response cache-store store
  server one 127.0.0.1:${stage.originPort} pool-max-conn 1024
`;
      return { argv: ["haproxy", "-db", "-f", place.write("haproxy.cfg", config)] };
    });
  },
};
