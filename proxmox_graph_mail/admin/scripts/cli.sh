# Azure CLI, best in Cloud Shell (https://shell.azure.com, Bash): the app registration, its credential, its right to send.
# Run it as a Privileged Role Administrator or Global Administrator: an Application Administrator cannot grant Graph's permissions
# (with GRANT='no' one suffices).
# Run it again after an error: what is there already is used.
set -eu
TENANT='@tenant@'               # empty: the tenant that you are signed in to
NAME='@name@'
CLOUD='@azure@'                 # as in: az cloud list
GRAPH_URL='@graph@'
SENDER='@sender@'
CERTIFICATE='@certificate@'     # the host's certificate, base64; empty: make a client secret
GRANT='@grant@'                 # no: entra rbac grants the one mailbox instead
GRAPH=00000003-0000-0000-c000-000000000000          # Microsoft Graph
MAIL_SEND=b633e1c5-b582-4048-a93e-9f11b44c7e96      # its application permission Mail.Send

[ "$CLOUD" = AzureCloud ] || az cloud set --name "$CLOUD"
HERE=$(az account show --query tenantId -o tsv 2>/dev/null || true)
if [ -z "$HERE" ] || { [ -n "$TENANT" ] && [ "$TENANT" != "$HERE" ]; }; then
    az login ${TENANT:+--tenant "$TENANT"} --allow-no-subscriptions >/dev/null
    HERE=$(az account show --query tenantId -o tsv)
fi
echo "App registration $NAME …" >&2
APP=$(az ad app create --display-name "$NAME" --sign-in-audience AzureADMyOrg --query appId -o tsv)
az ad sp show --id "$APP" >/dev/null 2>&1 || az ad sp create --id "$APP" >/dev/null
SP=$(az ad sp show --id "$APP" --query id -o tsv)

if [ "$GRANT" = yes ]; then
    echo "Mail.Send, and consent to it …" >&2
    az ad app permission add --id "$APP" --api "$GRAPH" --api-permissions "$MAIL_SEND=Role" --only-show-errors
    # Not `az ad app permission admin-consent`: it fails in Cloud Shell, and in every cloud but the global one.
    RESOURCE=$(az ad sp show --id "$GRAPH" --query id -o tsv)
    ASSIGNMENTS=$GRAPH_URL/v1.0/servicePrincipals/$SP/appRoleAssignments
    THERE=$(az rest --method GET --uri "$ASSIGNMENTS" --resource "$GRAPH_URL" --query "value[?appRoleId=='$MAIL_SEND'].id" -o tsv)
    if [ -z "$THERE" ]; then
        az rest --method POST --uri "$ASSIGNMENTS" --resource "$GRAPH_URL" --headers Content-Type=application/json \
            --body "{\"principalId\":\"$SP\",\"resourceId\":\"$RESOURCE\",\"appRoleId\":\"$MAIL_SEND\"}" >/dev/null
    fi
fi

if [ -n "$CERTIFICATE" ]; then
    echo "The host's certificate …" >&2
    FILE=$(mktemp)
    printf -- '-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n' "$(printf %s "$CERTIFICATE" | fold -w 64)" >"$FILE"
    az ad app credential reset --id "$APP" --append --cert "@$FILE" >/dev/null
    rm -f "$FILE"
else
    echo "A client secret for two years …" >&2
    SECRET=$(az ad app credential reset --id "$APP" --append --display-name "$NAME" --years 2 --query password -o tsv)
    EXPIRES=$(az ad app credential list --id "$APP" --query 'max_by(@, &endDateTime).endDateTime' -o tsv | cut -c1-10)
fi

echo "# Paste these lines into proxmox-graph-mail setup:"
echo "GRAPH_TENANT_ID=$HERE"
echo "GRAPH_CLIENT_ID=$APP"
[ -n "$CERTIFICATE" ] || echo "GRAPH_CLIENT_SECRET='$SECRET'"
[ -n "$CERTIFICATE" ] || echo "CREDENTIAL_EXPIRES=$EXPIRES"
echo "GRAPH_OBJECT_ID=$(az ad app show --id "$APP" --query id -o tsv)"
[ -z "$SENDER" ] || echo "GRAPH_SENDER=$SENDER"
