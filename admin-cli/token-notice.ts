/** Says once, on standard error, that a token ends within 30 days. */
export function tokenEndsSoon(): (expiresAt: Date) => void {
  let said = false
  return (expiresAt) => {
    if (said || Number.isNaN(expiresAt.getTime())) return
    said = true
    const day = expiresAt.toISOString().slice(0, 10)
    process.stderr.write(
      `WARNING: Your access token ends on ${day}: get a new one with get_singularity_token and sign in with it (remote login).\n`,
    )
  }
}
