/** A watched config file as a node's source of configs, with the command line's options on top. */
import type { ConfigReader } from "../config/config-reader.ts";
import { formatProblems } from "../config/problems.ts";
import type { Config } from "../config/schema.ts";
import { type ConfigWatch, watchConfig } from "../config/watch.ts";
import type { ConfigSource } from "../node/node.ts";
import type { NodeLog } from "../service/log.ts";

/** Watches the loader's file. `complete` puts the options into each config, so that a change does not undo them. */
export function watchedSource(
  file: string,
  loader: ConfigReader,
  complete: (config: Config) => Config,
  log: NodeLog,
): ConfigSource {
  let watching: ConfigWatch | null = null;
  return {
    start(onConfig, onProblem) {
      watching = watchConfig(loader, {
        async onConfig(config, warnings) {
          if (warnings.length > 0) log("warning", formatProblems(file, warnings));
          return await onConfig(complete(config));
        },
        onProblems: (problems) => onProblem(formatProblems(file, problems)),
      });
    },
    reload: async () => {
      await watching?.check();
    },
    stop: () => watching?.close(),
  };
}
