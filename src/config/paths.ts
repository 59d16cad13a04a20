/** Relative paths of a config start at its file's folder, wherever the program was started. */
import { resolve } from "node:path";
import type { NodeConfig, OriginConfig, SiteConfig } from "./schema.ts";

/** The node's own part with absolute paths. */
export function resolveNodePaths(node: NodeConfig, folder: string): NodeConfig {
  const { permitted, accessLog } = node;
  return {
    ...node,
    dataDir: resolve(folder, node.dataDir),
    listen: {
      ...node.listen,
      tls: {
        ...node.listen.tls,
        certificates: node.listen.tls.certificates.map((one) => ({
          ...one,
          cert: resolve(folder, one.cert),
          key: resolve(folder, one.key),
        })),
      },
    },
    ...(accessLog === undefined
      ? {}
      : { accessLog: { file: accessLog.file === "-" ? "-" : resolve(folder, accessLog.file) } }),
    ...(permitted?.directories === undefined
      ? {}
      : {
          permitted: { ...permitted, directories: permitted.directories.map((one) => resolve(folder, one)) },
        }),
  };
}

/** A site with absolute paths. */
export function resolveSitePaths(site: SiteConfig, folder: string): SiteConfig {
  const origins: Record<string, OriginConfig> = {};
  for (const [name, origin] of Object.entries(site.origins))
    origins[name] = resolveOriginPaths(origin, folder);
  return { ...site, origins };
}

function resolveOriginPaths(origin: OriginConfig, folder: string): OriginConfig {
  if ("directory" in origin) return { ...origin, directory: resolve(folder, origin.directory) };
  const { caFile } = origin.tls;
  return caFile === undefined
    ? origin
    : { ...origin, tls: { ...origin.tls, caFile: resolve(folder, caFile) } };
}
