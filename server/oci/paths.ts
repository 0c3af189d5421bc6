/**
 * Addresses of the registry. Names of repositories have slashes, so routes are patterns; the first
 * group is the name. The library has fixed paths under /v2 as well, whose first words no entity may
 * have (content/names.ts).
 */
export function route(rest: string): RegExp {
  return new RegExp(`^/v2/(?!imagefile/|tags/)(.+)/${rest}$`)
}
