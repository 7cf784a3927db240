/* A directory service for tests, as glibc's name service switch loads one.
 * Built with -D: LOOKUP is what it answers to a lookup by name or id, LISTING
 * to a question for a user's groups; WHY is the errno beside either. */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>

#define FOR_ALL(function) enum nss_status _nss_loginduotest_##function

static enum nss_status answer(enum nss_status status, int *errnop)
{
    *errnop = status == NSS_STATUS_NOTFOUND ? ENOENT : WHY;
    return status;
}

/* The directory's one group: 'far-admins', with bert in it. */
static enum nss_status far_admins(struct group *group, char *buffer, size_t length, int *errnop)
{
    static const char text[] = "far-admins\0x\0bert";
    char **members = (char **)buffer;
    char *copy = buffer + 2 * sizeof *members;

    if (length < 2 * sizeof *members + sizeof text)
        return *errnop = ERANGE, NSS_STATUS_TRYAGAIN;
    memcpy(copy, text, sizeof text);
    members[0] = copy + 13;
    members[1] = NULL;
    *group = (struct group){ copy, copy + 11, 62050, members };
    return NSS_STATUS_SUCCESS;
}

FOR_ALL(getgrnam_r)(const char *name, struct group *group, char *buffer, size_t length, int *errnop)
{
    if (LOOKUP == NSS_STATUS_SUCCESS && strcmp(name, "far-admins") == 0)
        return far_admins(group, buffer, length, errnop);
    return answer(LOOKUP == NSS_STATUS_SUCCESS ? NSS_STATUS_NOTFOUND : LOOKUP, errnop);
}

FOR_ALL(getgrgid_r)(gid_t gid, struct group *group, char *buffer, size_t length, int *errnop)
{
    if (LOOKUP == NSS_STATUS_SUCCESS && gid == 62050)
        return far_admins(group, buffer, length, errnop);
    return answer(LOOKUP == NSS_STATUS_SUCCESS ? NSS_STATUS_NOTFOUND : LOOKUP, errnop);
}

FOR_ALL(getpwuid_r)(uid_t uid, struct passwd *entry, char *buffer, size_t length, int *errnop)
{
    (void)uid, (void)entry, (void)buffer, (void)length;
    return answer(LOOKUP == NSS_STATUS_SUCCESS ? NSS_STATUS_NOTFOUND : LOOKUP, errnop);
}

FOR_ALL(initgroups_dyn)(const char *user, gid_t skip, long *start, long *size, gid_t **groups,
                        long limit, int *errnop)
{
    (void)skip, (void)size, (void)limit;
    if (LISTING != NSS_STATUS_SUCCESS)
        return answer(LISTING, errnop);
    /* glibc comes with room for more than the one. */
    if (strcmp(user, "bert") == 0)
        (*groups)[(*start)++] = 62050;
    return NSS_STATUS_SUCCESS;
}
