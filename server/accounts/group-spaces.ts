/** Which groups of the directory own a space of their name, and how large it is: configuration. */

export interface GroupSpaceSettings {
  /** Library names, or patterns of such with `*`: `proj-*`. */
  readonly spaces: readonly string[]
  /** Bytes for each such space; undefined: the default of every space. */
  readonly quotaBytes: number | undefined
  /** Bytes for single groups. */
  readonly quotas: Readonly<Record<string, number>>
}

export class GroupSpaces {
  readonly #patterns: readonly RegExp[]
  readonly #settings: GroupSpaceSettings

  constructor(settings: GroupSpaceSettings) {
    this.#settings = settings
    this.#patterns = settings.spaces.map(
      (pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`),
    )
  }

  has(group: string): boolean {
    return this.#patterns.some((pattern) => pattern.test(group))
  }

  /** Bytes; null for the default. */
  quotaOf(group: string): number | null {
    const { quotas, quotaBytes } = this.#settings
    return (Object.hasOwn(quotas, group) ? quotas[group] : quotaBytes) ?? null
  }
}
