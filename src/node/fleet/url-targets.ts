/**
 * Keys of the URLs that a purge of the fleet names. A key depends on the site's config: objects may be
 * stored by the one in force or by one that was in force lately, to which a roll-back may return. So a URL
 * is purged by its key in each of them.
 */
import { keyParts } from "../../cache/purge-table.ts";
import { foldedTargets } from "../../cache/tags.ts";
import { compileSite } from "../../config/compile.ts";
import type { SitePlan } from "../../config/plan.ts";
import type { Config, SiteConfig } from "../../config/schema.ts";
import { urlKey } from "../../edge/url-key.ts";

/** Configs of a site that are remembered. */
const RECIPES_MAX = 4;

/** What was in force lately, by site. */
export class UrlTargets {
  readonly #recipes = new Map<string, SiteConfig[]>();

  /** Takes the sites that are about to be put in force; those of unchanged sites are the same objects. */
  remember(sites: Config["sites"]): void {
    for (const [id, site] of Object.entries(sites)) {
      const known = this.#recipes.get(id) ?? [];
      if (known[0] === site) continue;
      this.#recipes.set(id, [site, ...known.filter((one) => one !== site)].slice(0, RECIPES_MAX));
    }
  }

  /** The keys, without scheme, of absolute URLs; those that no config of the site takes are left out. */
  keysOf(site: string, urls: readonly string[]): string[] {
    const plans: SitePlan[] = (this.#recipes.get(site) ?? []).map((config) => compileSite(site, config, ""));
    const keys = new Set<string>();
    for (const text of urls) {
      const url = URL.parse(text);
      if (url === null) continue;
      for (const plan of plans) {
        const key = urlKey(plan, url);
        if (key !== null) keys.add(keyParts(key).url);
      }
    }
    return [...keys];
  }

  /** The tags as the site's answers may be stored by them: folded too, where one of the configs does that. */
  tagsOf(site: string, tags: readonly string[]): readonly string[] {
    const folds = (this.#recipes.get(site) ?? []).some(({ tagCase }) => tagCase === "insensitive");
    return folds ? foldedTargets(tags) : tags;
  }
}
