/** H2O serving files: a ceiling, not a peer, because it has no proxy cache. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { HIT_PATHS } from "../cells.ts";
import { PEER_PROGRAMS } from "../packages.ts";
import { bodyOf, wanted } from "../workload.ts";
import { type Peer, startPeer } from "./peer.ts";

/** H2O. */
export const h2o: Peer = {
  name: "h2o",
  needs: PEER_PROGRAMS.h2o,
  caches: false,
  protocols: ["h1", "h1-tls", "h2"],
  tuning: "static files, one thread, no log; a ceiling",
  start(stage, options) {
    return startPeer(this, stage, options, (place) => {
      const root = join(place.folder, "www");
      for (const path of HIT_PATHS) {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        writeFileSync(join(root, path), bodyOf(wanted(path)?.bytes ?? 0));
      }
      const config = `
user: root
num-threads: ${place.workers}
max-connections: 30000
http1-request-timeout: 600
http2-idle-timeout: 600
listen: { host: 127.0.0.1, port: ${place.httpPort} }
listen:
  host: 127.0.0.1
  port: ${place.httpsPort}
  ssl: { certificate-file: ${stage.tls.cert}, key-file: ${stage.tls.key}, minimum-version: TLSv1.2 }
hosts:
  default:
    paths:
      "/": { file.dir: ${root} }
`;
      return { argv: ["h2o", "-c", place.write("h2o.conf", config)] };
    });
  },
};
