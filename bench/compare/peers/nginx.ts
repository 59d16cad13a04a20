/**
 * nginx with proxy_cache, after its own guides: sendfile, open_file_cache, kept-alive upstream, one worker.
 * tcp_nopush stays off: on loopback it holds the last piece of 100 KB answers back for 44 ms.
 */
import { PEER_PROGRAMS } from "../packages.ts";
import { DESCRIPTORS } from "../processes.ts";
import { type Peer, startPeer } from "./peer.ts";

/** nginx. */
export const nginx: Peer = {
  name: "nginx",
  needs: PEER_PROGRAMS.nginx,
  caches: true,
  protocols: ["h1", "h1-tls", "h2"],
  tuning:
    "proxy_cache on disk (page cache), sendfile, open_file_cache, upstream keepalive, proxy_cache_lock, use_stale updating, access_log off",
  start(stage, options) {
    return startPeer(this, stage, options, (place) => {
      const { folder } = place;
      const config = `
user root;
worker_processes ${place.workers};
worker_rlimit_nofile ${DESCRIPTORS};
pid ${folder}/nginx.pid;
error_log ${folder}/error.log crit;
daemon off;
events { worker_connections ${DESCRIPTORS}; multi_accept on; }
http {
  access_log off;
  sendfile on;
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 100000000;
  open_file_cache max=${Math.floor(DESCRIPTORS / 4)} inactive=600s;
  open_file_cache_valid 600s;
  server_tokens off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  proxy_cache_path ${folder}/cache levels=1:2 keys_zone=zone:${zoneMiB(options.cacheBytes)}m
    max_size=${Math.ceil(options.cacheBytes / 2 ** 20)}m inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:${stage.originPort}; keepalive 512; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${place.httpPort} backlog=4096 reuseport;
    listen 127.0.0.1:${place.httpsPort} ssl http2 backlog=4096 reuseport;
    ssl_certificate ${stage.tls.cert};
    ssl_certificate_key ${stage.tls.key};
    ssl_session_cache shared:tls:10m;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache zone;
      proxy_cache_lock on;
      proxy_cache_revalidate on;
      proxy_cache_use_stale error timeout updating;
      proxy_cache_background_update on;
    }
  }
}
`;
      return {
        argv: ["nginx", "-p", folder, "-e", `${folder}/error.log`, "-c", place.write("nginx.conf", config)],
      };
    });
  },
};

/** 8,000 keys take a megabyte, as nginx's documentation says; objects of 1 KB take 4 KB of disk. */
function zoneMiB(cacheBytes: number): number {
  return Math.max(64, Math.ceil(cacheBytes / 4096 / 8_000) * 2);
}
