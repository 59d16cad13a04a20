/** Relative paths of a config start at its file's folder, wherever the program was started. */
import { relative, resolve, sep } from "node:path";
import type {
  AlertChannelConfig,
  BucketConfig,
  NodeConfig,
  OriginConfig,
  SiteConfig,
  TiersConfig,
} from "./schema.ts";

/** The node's own part with absolute paths. */
export function resolveNodePaths(node: NodeConfig, folder: string): NodeConfig {
  const { permitted, accessLog, alerts, tiers, join, purges } = node;
  const all = (paths: readonly string[]): string[] => paths.map((one) => resolve(folder, one));
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
    ...(join === undefined ? {} : { join: resolveJoinPaths(join, folder) }),
    ...(tiers === undefined ? {} : { tiers: resolveTiersPaths(tiers, folder) }),
    ...(purges === undefined ? {} : { purges: resolveFiles(purges, folder) }),
    ...(alerts === undefined
      ? {}
      : {
          alerts: {
            ...alerts,
            channels: Object.fromEntries(
              Object.entries(alerts.channels).map(([name, one]) => [name, resolveChannelPaths(one, folder)]),
            ),
          },
        }),
    ...(permitted === undefined
      ? {}
      : {
          permitted: {
            ...permitted,
            ...(permitted.directories === undefined ? {} : { directories: all(permitted.directories) }),
            ...(permitted.secretDirectories === undefined
              ? {}
              : { secretDirectories: all(permitted.secretDirectories) }),
          },
        }),
  };
}

function resolveJoinPaths(join: NonNullable<NodeConfig["join"]>, folder: string): typeof join {
  const { caFile, nats } = join;
  const path = (file: string | undefined, name: string) =>
    file === undefined ? {} : { [name]: resolve(folder, file) };
  return {
    ...join,
    ...path(caFile, "caFile"),
    ...(nats === undefined
      ? {}
      : {
          nats: {
            ...resolveFiles(nats, folder),
            ...(nats.user === undefined ? {} : { user: resolveFiles(nats.user, folder) }),
            ...path(nats.caFile, "caFile"),
            ...path(nats.credentialsFile, "credentialsFile"),
          },
        }),
  };
}

function resolveTiersPaths(tiers: TiersConfig, folder: string): TiersConfig {
  const shields = Object.entries(tiers.shields).map(([name, one]) => {
    const { caFile } = one.tls;
    const tls = caFile === undefined ? one.tls : { ...one.tls, caFile: resolve(folder, caFile) };
    return [name, { ...one, tls }];
  });
  return { ...resolveFiles(tiers, folder), shields: Object.fromEntries(shields) };
}

function resolveChannelPaths(channel: AlertChannelConfig, folder: string): AlertChannelConfig {
  if (!("smtp" in channel)) return resolveFiles(channel, folder);
  const { caFile } = channel.smtp;
  return {
    ...channel,
    smtp: {
      ...resolveFiles(channel.smtp, folder),
      ...(caFile === undefined ? {} : { caFile: resolve(folder, caFile) }),
    },
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
  if ("zone" in origin) return origin;
  const { caFile } = origin.tls;
  const whole =
    caFile === undefined ? origin : { ...origin, tls: { ...origin.tls, caFile: resolve(folder, caFile) } };
  return "url" in whole ? whole : resolveSecrets(whole, folder);
}

function resolveSecrets(origin: BucketConfig, folder: string): BucketConfig {
  if ("s3" in origin)
    return { ...origin, s3: { ...origin.s3, credentials: resolveFiles(origin.s3.credentials, folder) } };
  if ("gcs" in origin) {
    const { credentials } = origin.gcs;
    return credentials === undefined
      ? origin
      : { ...origin, gcs: { ...origin.gcs, credentials: resolveFiles(credentials, folder) } };
  }
  const { credentials } = origin.azure;
  return credentials === undefined
    ? origin
    : { ...origin, azure: { ...origin.azure, credentials: resolveFiles(credentials, folder) } };
}

/** The same references to secrets, those to files with absolute paths. */
function resolveFiles<T extends object>(refs: T, folder: string): T {
  const resolved = Object.entries(refs).map(([name, ref]) => [
    name,
    typeof ref === "object" && ref !== null && "file" in ref ? { file: resolve(folder, ref.file) } : ref,
  ]);
  return Object.fromEntries(resolved) as T;
}

/** Is `path` the folder `root`, or below it? Both are absolute. */
export function isWithin(root: string, path: string): boolean {
  const way = relative(root, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !/^(?:[A-Za-z]:|[\\/])/.test(way));
}
