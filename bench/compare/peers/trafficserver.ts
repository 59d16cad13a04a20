/** Traffic Server, one event thread, its RAM cache in front of a cache file. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { PEER_PROGRAMS } from "../packages.ts";
import { type Peer, startPeer } from "./peer.ts";

/** It refuses to serve as root; the package brings this user. */
const USER = "trafficserver";
const isRoot = process.getuid?.() === 0;

/** Traffic Server. */
export const trafficserver: Peer = {
  name: "trafficserver",
  needs: PEER_PROGRAMS.trafficserver,
  caches: true,
  protocols: ["h1", "h1-tls", "h2"],
  tuning:
    "RAM cache and cache file of the same size, read_while_writer and open_write_fail_action for collapsing, one event thread, logging off",
  start(stage, options) {
    return startPeer(this, stage, options, (place) => {
      const folder = (name: string): string => {
        const path = join(place.folder, name);
        mkdirSync(path, { recursive: true });
        return path;
      };
      const sysconfdir = folder("etc");
      const bytes = Math.max(options.cacheBytes, 2 ** 28);
      const records: Record<string, string | number> = {
        ...(isRoot ? { "admin.user_id STRING": USER } : {}),
        "exec_thread.autoconfig INT": 0,
        "exec_thread.limit INT": place.workers,
        "exec_thread.affinity INT": 0,
        "accept_threads INT": 0,
        "task_threads INT": 1,
        "cache.threads_per_disk INT": 2,
        "cache.ram_cache.size INT": bytes,
        "cache.ram_cache_cutoff INT": 32 * 2 ** 20,
        "cache.enable_read_while_writer INT": 1,
        "http.background_fill_active_timeout INT": 0,
        "http.background_fill_completed_threshold FLOAT": "0.0",
        "http.cache.max_open_read_retries INT": 5,
        "http.cache.open_read_retry_time INT": 10,
        "http.cache.max_open_write_retries INT": 1,
        "http.cache.open_write_fail_action INT": 5,
        "http.cache.required_headers INT": 2,
        "http.server_ports STRING": `${place.httpPort}:ip-in=127.0.0.1 ${place.httpsPort}:ssl:ip-in=127.0.0.1`,
        "http.keep_alive_no_activity_timeout_in INT": 600,
        "http.keep_alive_no_activity_timeout_out INT": 600,
        "http.transaction_no_activity_timeout_in INT": 600,
        "http.server_session_sharing.match STRING": "both",
        "net.connections_throttle INT": 40_000,
        "net.listen_backlog INT": 4_096,
        "ssl.server.cert.path STRING": sysconfdir,
        "ssl.server.private_key.path STRING": sysconfdir,
        "url_remap.remap_required INT": 1,
        "reverse_proxy.enabled INT": 1,
        "log.logging_enabled INT": 0,
        "diags.output.diag STRING": "E",
        "http.wait_for_cache INT": 1,
      };
      const lines = Object.entries(records).map(([name, value]) => `CONFIG proxy.config.${name} ${value}`);
      place.write("etc/records.config", `${lines.join("\n")}\n`);
      place.write("etc/remap.config", `map / http://127.0.0.1:${stage.originPort}/\n`);
      place.write("etc/storage.config", `${folder("cache")} ${bytes}\n`);
      place.write("etc/ssl_multicert.config", "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n");
      place.write(
        "etc/ip_allow.yaml",
        "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n    methods: ALL\n",
      );
      for (const name of [
        "plugin.config",
        "cache.config",
        "hosting.config",
        "parent.config",
        "volume.config",
      ]) {
        place.write(`etc/${name}`, "");
      }
      const layout = {
        prefix: "/usr",
        exec_prefix: "/usr",
        bindir: "/usr/bin",
        sbindir: "/usr/sbin",
        sysconfdir,
        datadir: folder("data"),
        includedir: "/usr/include",
        libdir: "/usr/lib/trafficserver",
        libexecdir: "/usr/lib/trafficserver/modules",
        localstatedir: folder("state"),
        runtimedir: folder("run"),
        logdir: folder("log"),
        cachedir: join(place.folder, "cache"),
      };
      const runroot = place.write(
        "runroot.yaml",
        Object.entries(layout)
          .map(([name, path]) => `${name}: ${path}\n`)
          .join(""),
      );
      for (const name of ["cert.pem", "key.pem"])
        copyFileSync(join(stage.folder, name), join(sysconfdir, name));
      if (isRoot) Bun.spawnSync(["chown", "-R", USER, place.folder]);
      return { argv: ["traffic_server", `--run-root=${runroot}`] };
    });
  },
};
