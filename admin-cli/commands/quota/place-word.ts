/** How quotas name whose space it is. */
export const groupPrefix = 'group:'

export const placeWord = {
  summary: 'an account or a space, or group:NAME for that of a group',
  complete: 'space',
} as const
