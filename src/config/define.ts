/** The public entry of the package: `import { defineConfig } from "proxima-cdn"`. */
import type { ConfigInput } from "./types.ts";

export type {
  AzureOriginInput,
  BehaviorInput,
  CacheKeyInput,
  ConfigInput,
  DirectoryOriginInput,
  GcsOriginInput,
  HeaderRulesInput,
  ListenInput,
  RedirectInput,
  S3OriginInput,
  SiteInput,
  UrlOriginInput,
} from "./types.ts";

/** Returns `config` as it is; there for its type, so that an editor completes and explains settings. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config;
}
