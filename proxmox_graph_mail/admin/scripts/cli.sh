# Azure CLI (https://aka.ms/azure-cli): the app registration, Mail.Send, admin consent. Run it as an administrator of the tenant.
set -eu
TENANT='@tenant@'
NAME='@name@'
GRAPH=00000003-0000-0000-c000-000000000000          # Microsoft Graph
MAIL_SEND=b633e1c5-b582-4048-a93e-9f11b44c7e96      # its application permission Mail.Send
az login --tenant "$TENANT" --allow-no-subscriptions
APP=$(az ad app create --display-name "$NAME" --sign-in-audience AzureADMyOrg --query appId -o tsv)
az ad sp create --id "$APP"
az ad app permission add --id "$APP" --api "$GRAPH" --api-permissions "$MAIL_SEND=Role"
sleep 30                                             # Entra needs a moment to know the new app
az ad app permission admin-consent --id "$APP"
# A secret for two years; its password is shown once. (A certificate instead: proxmox-graph-mail setup --certificate makes it,
# az ad app credential reset --id "$APP" --cert @proxmox-graph-mail.crt --append uploads it.)
SECRET=$(az ad app credential reset --id "$APP" --append --display-name "$NAME" --years 2 --query password -o tsv)
echo "GRAPH_TENANT_ID=$(az account show --query tenantId -o tsv)"
echo "GRAPH_CLIENT_ID=$APP"
echo "GRAPH_CLIENT_SECRET=$SECRET"
echo "GRAPH_OBJECT_ID=$(az ad app show --id "$APP" --query id -o tsv)"
echo "CREDENTIAL_EXPIRES=$(az ad app credential list --id "$APP" --query '[0].endDateTime' -o tsv | cut -c1-10)"
