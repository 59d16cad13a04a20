/** Every peer, in the order of the tables. */
import { h2o } from "./h2o.ts";
import { haproxy } from "./haproxy.ts";
import { nginx } from "./nginx.ts";
import type { Peer } from "./peer.ts";
import { trafficserver } from "./trafficserver.ts";
import { varnish } from "./varnish.ts";

/** Those that Proxima is compared with. */
export const OTHERS: readonly Peer[] = [nginx, haproxy, varnish, trafficserver, h2o];
